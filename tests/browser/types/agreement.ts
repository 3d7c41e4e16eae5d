/**
 * The module as it is written (`written`: client.js without its declarations) against what client.d.ts says of it
 * (`declared`). Compiled by types.test.mjs, which puts the two side by side.
 */
import * as declared from './declared/client.js';
import * as written from './written/client.js';

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

export const sameExports: Same<keyof typeof written, keyof typeof declared> = true;

/** What is written can be used as what is declared. */
export const PortalGun: new (options: declared.PortalGunOptions) => declared.PortalGun = written.PortalGun;
export const Portal: new (...values: ConstructorParameters<typeof written.Portal>) => declared.Portal = written.Portal;
export const SignalingChannel: typeof declared.SignalingChannel = written.SignalingChannel;
export const PortalError: typeof declared.PortalError = written.PortalError;
export const Latency: typeof declared.Latency = written.Latency;
export const debounce: typeof declared.debounce = written.debounce;

/** And nothing that can be used is left undeclared, but for what the gun alone calls. */
export const gun: Same<keyof written.PortalGun, keyof declared.PortalGun> = true;
export const portal: Same<Exclude<keyof written.Portal, 'receive' | 'retry'>, keyof declared.Portal> = true;
export const channel: Same<keyof written.SignalingChannel, keyof declared.SignalingChannel> = true;
export const error: Same<keyof written.PortalError, keyof declared.PortalError> = true;
export const latency: Same<keyof written.Latency, keyof declared.Latency> = true;

/** All that can be asked for. */
export const options: Same<
  keyof ConstructorParameters<typeof written.PortalGun>[0], keyof declared.PortalGunOptions> = true;
