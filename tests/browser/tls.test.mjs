/** The wall over TLS, with the certificate that portald makes itself. */
import assert from 'node:assert/strict';
import { X509Certificate, createHash } from 'node:crypto';
import test, { after, before } from 'node:test';
import { ENGINE, Daemon, allLive, cameraTable, faultsOf, launchBrowser, openPage } from './harness.mjs';

let daemon;
before(async () => { daemon = await Daemon.start(cameraTable('alpha'), { tls: true }); });
after(async () => { await daemon.stop(); });

test('a browser that was told to trust this key shows the wall, also from an http address', async () => {
  const key = new X509Certificate(daemon.certificate).publicKey.export({ type: 'spki', format: 'der' });
  const pin = createHash('sha256').update(key).digest('base64');
  const browser = await launchBrowser([`--ignore-certificate-errors-spki-list=${pin}`]);
  try {
    // Firefox is told at its warning, for good; a driver can only have it say nothing of any.
    const trust = { ignoreHTTPSErrors: ENGINE === 'firefox' };
    const page = await openPage(browser, daemon.url.replace('https:', 'http:'), undefined, trust);
    assert.equal(page.url(), daemon.url);
    await allLive(page, ['alpha']);
    assert.equal(await page.evaluate(() => window.isSecureContext), true);
    assert.deepEqual(faultsOf(page), []);
  } finally {
    await browser.close();
  }
});

test('a browser that was told nothing refuses', async () => {
  const browser = await launchBrowser();
  try {
    await assert.rejects(openPage(browser, daemon.url), /ERR_CERT_AUTHORITY_INVALID|MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT/);
  } finally {
    await browser.close();
  }
});
