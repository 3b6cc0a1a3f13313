"""Models that the tests build: healthy ones, faulty ones, random ones, and what is made of them."""
