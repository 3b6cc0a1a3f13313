"""Put nodes together by their places alone, all at once: what is cheap where a graph has thousands of them.

groups   lists of ops; sources, for each op, the ops that it reads; looks, for each op, what must be equal in a group
"""

from qlab.graph.walking import depth_first

FEWEST_TWINS = 3
MOST = 600  # groups that are then joined pair by pair


def wired(groups, sources):
    """{first op of a group: the first ops of those that it reads, and of those that read it}."""
    home = {op: group[0] for group in groups for op in group}
    above = {group[0]: {home[source] for op in group for source in sources[op]} - {group[0]} for group in groups}
    below = {group[0]: set() for group in groups}
    for one, read in above.items():
        for source in read:
            below[source].add(one)
    return above, below


def twins(groups, sources, zones, wiring):
    """Nodes that have the same operator, sources and readers, put together."""
    above, below = wired(groups, sources)
    twins = {}
    for (op,) in groups:
        around = frozenset(above[op]), frozenset(below[op])
        twins.setdefault((wiring.ops[op].op_type, zones[op], *around), []).append(op)
    return [group for ops in twins.values() for group in ([ops] if len(ops) >= FEWEST_TWINS else [[op] for op in ops])]


def chains(groups, sources, looks):
    """Groups of one look that only each other read and feed, put together."""
    above, below = wired(groups, sources)
    chains = {}
    for group in in_order(groups, above):
        one, read = group[0], list(above[group[0]])
        chain = chains.get(read[0]) if len(read) == 1 and len(below[read[0]]) == 1 else None
        if chain and looks[chain[0]] == looks[one]:
            chain += group
        else:
            chain = list(group)
        chains[one] = chain
    return list({chain[0]: chain for chain in chains.values()}.values())


def neighbours(groups, sources, looks):
    """Groups that follow each other in the order and are of one look, put together until about MOST are left."""
    size, parts = 2 * sum(map(len, groups)) // MOST, []
    for group in in_order(groups, wired(groups, sources)[0]):
        if parts and len(parts[-1]) + len(group) <= size and looks[parts[-1][0]] == looks[group[0]]:
            parts[-1] += group
        else:
            parts.append(list(group))
    return parts


def in_order(groups, above):
    """The groups, each after all that it reads."""
    by_first = {group[0]: group for group in groups}
    return [by_first[one] for one in depth_first(by_first, {one: sorted(read) for one, read in above.items()})]
