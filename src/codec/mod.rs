//! Arrays in, bytes out: prediction, quantization, entropy coding, container.
