"""Makes the benchmark: from fastMRI+ annotations, images where there are any, or phantoms, to items in a file."""
