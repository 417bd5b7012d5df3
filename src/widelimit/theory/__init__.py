"""The theory's other solutions, each independent of the training loop, each returning the same labelled result."""
