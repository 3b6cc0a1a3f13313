"""The quiz of notebook 03."""

from qlab.course.quizzes import question, right, wrong

QUIZ = [
    question(
        "One weight grows to ten times the size of all others. One scale for the tensor: what happens to the others?",
        right(
            "int4 loses nearly all of them, powers of two hardly notice",
            "int4's step grows tenfold, and most weights fall on 0. Powers of two keep their relative error: the other "
            "weights move three or four marks down, as long as there are marks.",
        ),
        wrong(
            "Both lose the same: the scale is the same",
            "The scale is, the spacing is not. Near 0 the marks of powers of two lie closer and closer together.",
        ),
        wrong(
            "Neither loses: both have 4 bits",
            "Bits say how many marks there are. What counts is how many of them lie where the weights are.",
        ),
    ),
    question(
        "You gain 2 dB with k-means over evenly spaced int4. What does the product of two such tensors cost on a CPU?",
        right(
            "A look-up for every code, then a float product",
            "The index of such a mark says nothing about its size, so that products of codes mean nothing.",
        ),
        wrong(
            "The same integer product with another scale at the end",
            "That needs even marks: scale * (code - zero point). K-means puts its marks where the data are.",
        ),
        wrong(
            "Shifts instead of products",
            "Only marks at powers of two allow that.",
        ),
    ),
    question(
        "E4M3 or E5M2: both have 8 bits. What does E5M2 buy with its fifth exponent bit?",
        right(
            "Range: 57,344 instead of 448 at the top, and smaller numbers at the bottom",
            "It pays with one mantissa bit, 6 dB. Gradients in training need the range; weights and activations that "
            "have a scale of their own rarely do.",
        ),
        wrong(
            "Precision: 6 dB more",
            "The other way round: the mantissa has the precision, and E5M2 has a bit less of it.",
        ),
        wrong(
            "Speed",
            "Both are bytes, and hardware for the one usually serves the other. What differs is where the marks lie.",
        ),
    ),
    question(
        "Your 4-bit weights are too noisy. What do you try first?",
        right(
            "A scale for each block of 32",
            "Each block then gets a grid as fine as it deserves, products stay integer within a block, and where a few "
            "weights are large this gains more than any of the codebooks did.",
        ),
        wrong(
            "NF4 with one scale for the tensor",
            "It helps. Yet its marks are made for a largest weight near two standard deviations, as in a block; in a "
            "whole tensor it lies further out.",
        ),
        wrong(
            "bfloat16",
            "That is accurate, and four times as large as 4 bits.",
        ),
    ),
]
