"""The smart-home sentences that the course's speech data speak: a small grammar of nearly 300 words.

A sentence is drawn from one of the templates by a seeded generator; `[a|b]` chooses, `<name>` is a slot. Numbers are
spelled out, so that a transcript is made of lower-case letters, apostrophes and spaces alone.
"""

import re

import numpy as np

SLOTS = {
    "room": "kitchen|bedroom|bathroom|living room|dining room|hallway|garage|basement|attic|office|nursery|garden|"
    "balcony|laundry room|guest room",
    "device": "heater|fan|television|radio|oven|dishwasher|washing machine|dryer|coffee maker|kettle|vacuum cleaner|"
    "air purifier|speaker|printer|sprinkler|humidifier|alarm|projector|toaster|fountain",
    "door": "front door|back door|garage door|garden gate|window|skylight",
    "opening": "<door>|windows|blinds|curtains|shutters",
    "colour": "red|green|blue|yellow|orange|purple|white|pink|warm white|turquoise",
    "person": "mother|father|grandma|uncle peter|doctor miller|alice|robert|my sister|my brother|the neighbour|"
    "the school|julia|the plumber|samuel",
    "music": "jazz|classical music|some rock|a lullaby|the morning news|an audio book|my favourite album|"
    "quiet piano music|the football game|summer songs|a podcast about history",
    "item": "milk|bread|butter|eggs|apples|bananas|rice|pasta|tomatoes|onions|cheese|olive oil|chocolate|potatoes|"
    "orange juice|soap|batteries|flour|honey|carrots|yoghurt",
    "city": "london|paris|berlin|madrid|tokyo|chicago|boston|sydney|vienna|dublin|oslo|shanghai",
    "weekday": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    "day": "on <weekday>|today|tomorrow|tonight",
    "part": "morning|afternoon|evening|night",
    "small": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
    "tens": "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety",
    "level": "ten|fifteen|<tens>|<tens> <digit>|one hundred",
    "digit": "one|two|three|four|five|six|seven|eight|nine",
    "degrees": "fifteen|sixteen|seventeen|eighteen|nineteen|twenty|twenty <digit>",
    "unit": "seconds|minutes|hours",
    "hour": "<small> o'clock|half past <small>|quarter to <small>|<small> fifteen|<small> thirty",
    "task": "water the plants|feed the cat|walk the dog|take out the trash|call <person>|buy <item>|"
    "pay the electricity bill|clean the <room>|check the mail|take my medicine|charge the car|bake a cake",
}

TEMPLATES = (
    "[please|] turn [on|off] the [light|lights|lamp] in the <room>",
    "[please|] turn [on|off] the <device>",
    "turn the <room> lights <colour>",
    "[dim|brighten] the <room> lights to <level> percent",
    "set the [temperature|thermostat] in the <room> to <degrees> degrees",
    "make the <room> a little [warmer|cooler|brighter|darker]",
    "[open|close] the <opening> in the <room>",
    "[please|] [lock|unlock] the <door> [at <hour>|]",
    "set a timer for <level> <unit>",
    "set [an alarm|a reminder] for <hour> [<day>|]",
    "wake me up at <hour> [<day>|]",
    "remind me to <task> [<day>|at <hour>|<weekday> <part>|]",
    "play <music> in the <room>",
    "turn the volume [up|down] to <level> percent",
    "[stop|pause|resume] the music [in the <room>|]",
    "add <item> and <item> to [the|my] shopping list",
    "remove <item> from [the|my] shopping list",
    "[call|send a message to] <person> [now|please|]",
    "what is the weather like in <city> [<day>|]",
    "will it [rain|snow|be sunny|be windy] in <city> <day>",
    "how [warm|cold|humid] is it in the <room>",
    "is the <door> [open|closed|locked]",
    "did I leave the <device> on in the <room>",
    "start the <device> in <small> <unit>",
    "when does the [train|bus|plane] to <city> leave",
    "what time is it in <city>",
    "how many <unit> are left on the timer",
    "show me the camera [at the front door|in the <room>|in the garden]",
    "[good morning|good night] [dear|] house",
    "what is <level> [plus|minus|times] <level>",
)


def _expand(text, rng):
    """Replace choices and slots, from the inside out, until none is left."""
    pattern = re.compile(r"\[([^][]*)\]|<(\w+)>")
    while match := pattern.search(text):
        options = (SLOTS[match[2]] if match[2] else match[1]).split("|")
        text = text[: match.start()] + options[rng.integers(len(options))] + text[match.end() :]
    return " ".join(text.lower().split())


def sentence(rng):
    """One random sentence, for example "turn off the lamp in the attic"."""
    return _expand(TEMPLATES[rng.integers(len(TEMPLATES))], rng)


BEFORE = ("please", "house", "dear house", "good morning house", "good night house")
AFTER = ("please", "now", "house", "dear house", "tonight")


def addressed(rng):
    """A random sentence, most often with a word before or after it: "house turn off the lamp in the attic please"."""
    parts = [sentence(rng)]
    if rng.random() < 0.45:
        parts.insert(0, BEFORE[rng.integers(len(BEFORE))])
    if rng.random() < 0.45:
        parts.append(AFTER[rng.integers(len(AFTER))])
    return " ".join(parts)


def sentences(count, seed, exclude=frozenset()):
    """`count` different sentences, none of them in `exclude`. The same seed gives the same list."""
    rng, chosen = np.random.default_rng(seed), {}
    while len(chosen) < count:
        text = sentence(rng)
        if text not in exclude:
            chosen[text] = None
    return list(chosen)


def vocabulary():
    """Every word that the grammar can say, sorted."""
    words = re.sub(r"<\w+>|[][|]", " ", " ".join((*TEMPLATES, *SLOTS.values()))).lower().split()
    return sorted(set(words))
