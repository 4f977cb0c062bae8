"""From scores to lower bounds on epsilon, one file for each way."""
