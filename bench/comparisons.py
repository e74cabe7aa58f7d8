"""What bench/run measures: ours, the peer's, and the ratio that is wanted (issue 3). Commands may use {bench} (built
programs), {python} (the peers' interpreter), {root} and {threads}. `targets`: word in a figure's name -> wanted ratio."""

COMPARISONS = [
]
