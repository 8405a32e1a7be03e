"""What a peer does on the network, found out from outside: a black-box suite over real associations."""
