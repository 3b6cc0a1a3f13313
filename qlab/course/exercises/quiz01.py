"""The quiz of notebook 01."""

from qlab.course.quizzes import question, right, wrong

QUIZ = [
    question(
        "A tensor runs from 2.0 to 10.0. Which range do you give to the ruler?",
        wrong("2 to 10", "The steps are finer, but 0.0 has no code: padding and zeros come back as 2.0."),
        right("0 to 10", "0 must have a code of its own, so the range takes it in; its steps get coarser."),
        wrong("-10 to 10", "It holds 0, but half of the codes then stand for numbers that never occur."),
    ),
    question(
        "x / scale is 3.5, zero_point is 7. Which code does ONNX store?",
        wrong("10", "That is 3 + 7. 3.5 lies halfway between 3 and 4, and the even one of them is 4."),
        right("11", "3.5 goes to the even number, 4; only then 7 is added."),
        wrong("10 or 11, as it happens", "The standard fixes ties: to the even number, before adding zero_point."),
    ),
    question(
        "You make the range half as wide. What happens to the error of the values that are still inside?",
        right("It halves", "As many steps cover half the way: each of them, and so the rounding error, is half."),
        wrong("It stays", "The number of codes stays, the distance between them does not: scale is range over steps."),
        wrong("It doubles", "The other way round: a wider range has wider steps. What grows is the error outside."),
    ),
    question(
        "With many bits, one more bit adds how much SQNR?",
        wrong("2 dB", "A factor of two in the error is 20 log10(2) = 6.02 dB."),
        wrong("3 dB", "Twice the *power* is 3 dB. Half the error is a quarter of the noise power: 6.02 dB."),
        right("6 dB", "A bit halves the step and with it the error, and 20 log10(2) is 6.02."),
    ),
    question(
        "Which range has the least mean squared error at 4 bits for a tensor with a few very large values?",
        wrong("Min-max, since clipping loses information", "It rounds all values coarsely to keep the few large ones."),
        wrong("The narrowest: its steps are the finest", "At some point clipping costs more than finer steps gain."),
        right(
            "One between, found by trying", "As it narrows, rounding errs less and clipping more: the sum has a least."
        ),
    ),
]
