"""The words of notebook 04's last exercise and of its quiz."""

from qlab.course.quizzes import question, right, wrong

SCALES = {
    "x ()": "activations (T, K), one scale for all",
    "x (T, 1)": "activations (T, K), one scale per token",
    "x (1, K)": "activations (T, K), one scale per input channel",
    "x (T, K/32)": "activations (T, K), one scale per block of 32 in each token",
    "w ()": "weights (K, N), one scale for all",
    "w (1, N)": "weights (K, N), one scale per output channel",
    "w (K, 1)": "weights (K, N), one scale per input channel",
    "w (K/32, N)": "weights (K, N), one scale per block of 32 in each column",
    "conv w (out, 1, 1, 1)": "weights of a convolution (out, in, 3, 3), one scale per output channel",
    "conv w (1, in, 1, 1)": "weights of a convolution (out, in, 3, 3), one scale per input channel",
    "conv x (1, in, 1, 1)": "activations (1, in, height, width) of that convolution, one scale per channel",
    "depthwise x (1, C, 1, 1)": "activations (1, C, height, width) of a depthwise convolution, one scale per channel",
}
WHY = {  # name -> (does it factor, why)
    "x ()": (True, "one number stands before every term of the sum, so it can stand before the sum"),
    "x (T, 1)": (True, "a token is a row of the output: its scale is the same for all k"),
    "x (1, K)": (
        False,
        "each term of the sum over K has another scale. Per channel works for weights because their channel is the "
        "*output's*; this one is the input's, which is summed away",
    ),
    "x (T, K/32)": (False, "the scale changes after 32 terms: it leaves the sum of its block, not the sum over K"),
    "w ()": (True, "one number stands before every term of the sum, so it can stand before the sum"),
    "w (1, N)": (True, "an output channel is a column of the output: its scale is the same for all k"),
    "w (K, 1)": (False, "the rows of the weight are the terms of the sum, and each has another scale"),
    "w (K/32, N)": (False, "the scale changes after 32 terms: it leaves the sum of its block, not the sum over K"),
    "conv w (out, 1, 1, 1)": (True, "the sum runs over in, 3 and 3; the scale depends on none of them"),
    "conv w (1, in, 1, 1)": (False, "a convolution sums over its input channels as well as over its window"),
    "conv x (1, in, 1, 1)": (False, "a convolution sums over its input channels as well as over its window"),
    "depthwise x (1, C, 1, 1)": (
        True,
        "a depthwise convolution sums over its window only: its input channel is its output channel",
    ),
}

QUIZ = (
    question(
        "A weight of a linear layer is stored as (576, 144): 576 outputs, 144 inputs. int4 codes, PerBlock(1, 32). "
        "How many scales are there?",
        wrong("18", "that is 576 / 32: the axis of the outputs was cut. PerBlock(1, 32) cuts axis 1."),
        wrong("2,304", "that is 576 * 4: 144 / 32 is 4.5, and the last half block needs a scale as well."),
        right("2,880", "576 rows, each with 5 blocks: four of 32 numbers and a last one of 16."),
        wrong("5", "each row has 5 blocks, and no two rows share: PerBlock cuts one axis and shares no other."),
    ),
    question(
        "int4 codes in blocks of 32, each with a float16 scale. What does a number cost?",
        wrong("4 bits", "those are the codes alone. Each block brings 16 bits more."),
        right("4.5 bits", "4 + 16 / 32: a number pays for its code and for a thirty-second of a scale."),
        wrong("4.03 bits", "that is 4 + 1 / 32: a scale has 16 bits, not one."),
        wrong("20 bits", "that is a scale for each number. Here 32 numbers share one."),
    ),
    question(
        "One channel of an activation is sixty times as loud as the others. Why does a scale per token help so little?",
        wrong("Tokens are too short to estimate a range", "min-max needs no estimate: it is exact for any length."),
        right(
            "Every token contains the loud channel",
            "each row's largest number is in that channel, so each row's scale is set by it. Tokens differ in how loud "
            "it is, and that little is gained.",
        ),
        wrong("A scale per token does not leave the sum over K", "it does: a token is a row of the output."),
    ),
    question(
        "Which of these can be one integer product, without a float operation inside the sum?",
        wrong(
            "activations per input channel, weights per output channel",
            "the activations' scale changes with k, from term to term of the sum.",
        ),
        right(
            "activations per token, weights per output channel",
            "one scale belongs to the row of the output, the other to its column; neither knows k.",
        ),
        wrong(
            "activations per tensor, weights in blocks of 32 along K",
            "the weights' scale changes every 32 terms: there are K/32 integer products, added in float.",
        ),
    ),
    question(
        "Smoothing divides each input channel of the activations by a number and multiplies a row of the weight by it. "
        "What does it change?",
        wrong("The layer's result in float", "the two cancel in each term of the sum: only rounding differs."),
        right(
            "Which of the two operands has to be quantized with the outlier",
            "the difficulty moves to the weights, partly: with the square root, both get some of it.",
        ),
        wrong("The number of scales", "activations and weights keep the granularity that they had."),
        wrong(
            "Nothing: it is the same product",
            "it is the same in float, but each operand is now rounded with another distribution.",
        ),
    ),
)
