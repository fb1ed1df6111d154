typedef int cbe_kernels_placeholder;
