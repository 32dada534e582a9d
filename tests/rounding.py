"""How far apart rounding may leave two float32 computations of the same thing: tests take their bounds from here.

In which order a sum is added up depends on the processor's vector instructions, on who computes (oneDNN, Eigen,
OpenVINO, numpy), on the number of threads and on the size of the batch. Each order rounds otherwise, every addition by
up to 6e-8 of the sum. So all bounds are relative: to the value, or to the largest that an array can hold, which is 1
for probabilities. Faults that the tests are there to find make differences of 1e-2 and more.
"""

HEAD = 1e-5
"""A head on the same features: sums of 2,048 products, of which rounding leaves some 1e-6."""

FEATURES = 1e-4
"""Features of a backbone, whose hundred layers each round what they get; of the largest."""

SCORE = 1e-3
"""A probability of a detector that was made from a handful of clips: the standardisation and the temperature that are
fitted to so few may stretch what rounding leaves in features and logits tenfold."""

TRAINED = 1e-3
"""What some steps of training lead to: each step starts from what rounding made of those before."""
