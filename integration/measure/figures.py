"""From samples to figures: medians over the rounds, and ratios of what was measured in the same round."""

from statistics import median


class Figures:
    """Answers questions about samples; an answer that nobody measured is None."""

    def __init__(self, samples):
        self.samples = [sample for sample in samples if "value" in sample]
        self.failures = {(s["load"], s["way"], s["contender"], s["group"]) for s in samples if "value" not in s}

    def of(self, load, way, contender, group="contest", figure="value"):
        """Round -> figure."""
        return {sample["round"]: sample[figure] for sample in self.samples
                if (sample["load"], sample["way"], sample["contender"], sample["group"]) ==
                (load, way, contender, group) and sample.get(figure) is not None}

    def median(self, *what, **more):
        values = self.of(*what, **more).values()
        return median(values) if values else None

    def failed(self, load, way, contender, group="contest"):
        """Whether it was tried, and not one round came to anything."""
        return (load, way, contender, group) in self.failures and not self.of(load, way, contender, group)

    def contenders(self, group="contest"):
        """In the order in which they came."""
        return list(dict.fromkeys(sample["contender"] for sample in self.samples if sample["group"] == group))

    def ratio(self, load, way, ours, theirs, group="contest"):
        """The median, the least and the greatest of the rounds' ratios."""
        mine, other = self.of(load, way, ours, group), self.of(load, way, theirs, group)
        ratios = [mine[number] / other[number] for number in mine if other.get(number)]
        return (median(ratios), min(ratios), max(ratios)) if ratios else None

    def medians(self):
        """All of them, for the record."""
        keys = dict.fromkeys((s["group"], s["load"], s["way"], s["contender"]) for s in self.samples)
        result = []
        for group, load, way, contender in keys:
            rounds = [s for s in self.samples if (s["group"], s["load"], s["way"], s["contender"]) ==
                      (group, load, way, contender)]
            figures = {figure: median(values) for figure in rounds[0] if figure != "round"
                       and (values := [s[figure] for s in rounds if isinstance(s.get(figure), (int, float))])}
            result.append({"group": group, "load": load, "way": way, "contender": contender,
                           "rounds": len(rounds), **figures})
        return result
