/*
 * Preloaded into portald while the kernel's made-up ribbon camera is used. libcamera 0.0.3 asks for the number of vimc's requests
 * after they are done with, when another thread may have freed them, and so crashes after some dozen pictures; only vimc's part of
 * it does. Nothing depends on the number.
 */
unsigned int _ZNK9libcamera7Request8sequenceEv(const void *request);

unsigned int _ZNK9libcamera7Request8sequenceEv(const void *request)
{
	(void)request;
	return 0;
}
