"""What `make test` runs: the linters and the whole suite, in each of the distribution roots."""
