"""What pages to look at and listen to are made of; knows nothing of experiments."""

# License: BSD-3-Clause
