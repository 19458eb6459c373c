"""The paper: how it calls its models, and what it published. Mack et al. 2021, VarDACAE, tables 3 to 8, figures 7 and 16.

Every error is the paper's "DA MSE": ||analysis - truth|| / ||truth||, mean over the test states.
"""

import itertools
import re

BLOCKS = ["vanilla", "cbam-vanilla", "next", "cbam-next"]
TABLE4 = {  # after 150 epochs, with PReLU, by residual block
    "resnext3-27-4": [0.2108, 0.1998, 0.2028, 0.1907], "rdb3-27-4": [0.1950, 0.1893, 0.1964, 0.2005],
    "resnext3-27-1": [0.2031, 0.1948, 0.2106, 0.2110], "rdb3-27-1": [0.2064, 0.2167, 0.1968, 0.2060],
    "resnext3-3-8": [0.2196, 0.2051, 0.2174, 0.2148], "rdb3-3-8": [0.1958, 0.2125, 0.2004, 0.2013],
    "rab-4": [0.2277, 0.1970, 0.1917, 0.1927], "grdn": [0.2297, 0.2204, 0.2300, 0.1893],
    "tucodec": [0.0858, 0.3172, 0.0890, 0.1870],
}  # fmt: skip
ACTIVATIONS = ["prelu", "relu", "gdn"]
TABLE5 = {  # after 150 epochs, by activation; None: diverged
    "backbone": [0.2309, 0.9857, 0.2970], "resnext3-27-1-cbam-vanilla": [0.1948, 1.0058, 0.1900],
    "rdb3-3-8-vanilla": [0.1958, 0.9887, 0.2027], "rdb3-27-4-cbam-vanilla": [0.1893, None, 0.1865],
    "rab-4-next": [0.1917, 0.9992, 0.2146], "grdn-cbam-next": [0.1893, 1.0001, 0.1689],
    "tucodec-next": [0.0890, 0.1624, 0.1586], "tucodec-cbam-next": [0.1870, 0.2662, 0.2539],
    "tucodec-vanilla": [0.0858, 0.0939, 0.1212], "tucodec-cbam-vanilla": [0.3172, 0.1788, 0.2805],
}  # fmt: skip
TABLE6 = {  # at convergence: DA MSE, online s, parameters; rab-4 and tucodec-vanilla as their logged parameters say they were
    "backbone-prelu": [0.1665, 0.0897, 296553], "rdb3-27-4-cbam-vanilla-gdn": [0.1594, 0.4666, 25572973],
    "resnext3-27-1-cbam-vanilla-gdn": [0.1548, 0.1693, 3491437], "rab-4-cbam-next-prelu": [0.1723, 0.1192, 1305387],
    "grdn-cbam-next-gdn": [0.1241, 0.0983, 4664774], "tucodec-vanilla-relu": [0.0809, 0.1294, 10590849],
    "tucodec-next-prelu": [0.0787, 0.0537, 2527361],
}  # fmt: skip
TABLE7 = {"all": [0.1270, 1.8597], "0.1": [0.1270, 0.2627], "0.01": [0.1334, 0.0443], "0.001": [0.1680, 0.0390]}
TABLE8 = {1: 0.2005, 2: 0.2188, 4: 0.1917, 8: 0.2071}  # residual attention blocks, NeXt, PReLU
FIGURE7 = {  # modes, everything observed: DA MSE, online s
    1: [0.3859, 0.32], 2: [0.2391, 0.69], 4: [0.2112, 1.02], 8: [0.1802, 1.30], 12: [0.1544, 1.48], 16: [0.1485, 1.61],
    32: [0.1271, 1.86], 60: [0.1049, 2.19], 100: [0.0930, 2.46], 150: [0.0913, 2.5], "full": [0.0913, 2.50],
}  # fmt: skip
FIGURE16 = {  # cardinality -> layers 3, 6, 9, 18, 27 of ResNeXt3-L-N-NeXt
    1: [0.2134, 0.2137, 0.2190, 0.2194, 0.2122], 4: [0.2241, 0.2073, 0.2123, 0.2112, 0.2022],
    8: [0.2060, 0.2099, 0.2126, 0.2118, 0.2043], 16: [0.2060, 0.2223, 0.2112, 0.2087, 0.2088],
    32: [0.2280, 0.2144, 0.2123, 0.2210, 0.2078],
}  # fmt: skip
LAYERS16 = [3, 6, 9, 18, 27]
FAMILIES = {"Backbone": "backbone", "ResNeXt-L-N": "resnext3", "RDB3-L-N": "rdb3", "RAB-L": "rab", "GRDN": "grdn",
            "Tucodec": "tucodec"}  # fmt: skip
TABLE3 = {"Backbone": "backbone-prelu", "ResNeXt-L-N": "resnext3-27-1-cbam-vanilla-gdn",
          "RDB3-L-N": "rdb3-27-4-cbam-vanilla-gdn", "RAB-L": "rab-4-next-prelu", "GRDN": "grdn-cbam-next-gdn",
          "Tucodec": "tucodec-vanilla-prelu"}  # fmt: skip
PUBLISHED = {f"{family}-{block}-prelu": v for family, row in TABLE4.items() for block, v in zip(BLOCKS, row)}
PUBLISHED |= {f"{model}-{a}": v for model, row in TABLE5.items() for a, v in zip(ACTIVATIONS, row)}
PUBLISHED |= {f"rab-{n}-next-prelu": v for n, v in TABLE8.items()}

FINE_TUNED = "-l1"  # end of the name of a model that goes on from the one without, by the absolute loss
SEEN = re.compile(r"-seen([\d.]+)$")  # the one without, and an encoder of this part or number of observations
JITTERS = ["tucodec-next-prelu"] + [f"tucodec-next-prelu-jitter{k}" for k in (1, 2, 3)]
SETS = {
    "table3": list(TABLE3.values()),
    "table4": ["backbone-prelu"] + [f"{family}-{block}-prelu" for family in TABLE4 for block in BLOCKS],
    "table5": [f"{model}-{a}" for model in TABLE5 for a in ACTIVATIONS],
    "table6": list(TABLE6),
    "table8": ["backbone-prelu"] + [f"rab-{n}-next-prelu" for n in TABLE8],
    "figure16": [f"resnext3-{layers}-{n}-next-prelu" for n in FIGURE16 for layers in LAYERS16],
    "figure17": JITTERS,
    "fine-tuning": ["tucodec-next-prelu", "tucodec-next-prelu" + FINE_TUNED],
    "beyond": ["tucodec-next-prelu", "tucodec-next-prelu-seen0.01"],
    "headline": ["backbone-prelu", "tucodec-next-prelu", *TABLE6, "backbone-relu", "backbone-gdn", "tucodec-32-next-prelu",
                 "tucodec-next-prelu" + FINE_TUNED],  # fmt: skip
}
SETS["all"] = list(itertools.chain(*SETS.values()))
MODES = [1, 2, 4, 8, 12, 16, 32, 60, 100, 150, 250, 350, 450, 550, 700]
FRACTIONS = ["all", "0.1", "0.01", "0.001"]
COUNTS = [str(2**k) for k in range(0, 18, 2)]
COUNT_MODES = [4, 32]  # modes for which observations are counted one by one (figure 8); also no truncation


def goes_on_from(name):
    """The model whose weights another one needs."""
    short = without(name)
    return short if short != name else None


def without(name):
    """The name without what is added to a model."""
    return SEEN.sub("", name) if SEEN.search(name) else name.removesuffix(FINE_TUNED)


def model_of(name):
    """What `train.model` and `data.augment` are for a model's name: (YAML of the model, jitter, family, activation)."""
    name = without(name) if not name.startswith("pca") else name
    pattern = r"(backbone|(?:resnext3|rdb3)-(\d+)-(\d+)|rab-(\d+)|grdn|tucodec(?:-(\d+))?)" \
              r"(?:-(cbam-)?(vanilla|next))?-(prelu|relu|gdn)(?:-jitter([0-3]))?"  # fmt: skip
    linear = re.fullmatch(r"pca-(\d+)", name)
    if linear:
        return f"{{name: pca, latent: {linear[1]}}}", 0, "pca", None
    found = re.fullmatch(pattern, name)
    if not found or (found[7] is None) != (found[1] == "backbone"):
        raise ValueError(f"`{name}` is no model; like tucodec-next-prelu, pca-32, or a set: {', '.join(SETS)}")
    family = re.match(r"[a-z]+3?", name)[0]
    keys = {"name": family.removesuffix("3"), "activation": found[8]}
    if family != "backbone":
        keys |= {"block": found[7], "cbam": "true" if found[6] else "false"}
    keys |= {"layers": found[2], "cardinality": found[3]} if found[2] else {}
    keys |= {"layers": found[4]} if found[4] else {}
    keys |= {"channels": found[5]} if found[5] else {}
    text = ", ".join(f"{key}: {value}" for key, value in keys.items())
    return "{" + text + "}", int(found[9] or 0), family, found[8]
