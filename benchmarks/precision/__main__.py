"""Print the table of the rows, for docs/precision.md.

python -m benchmarks.precision
"""

from benchmarks.precision.rows import read_rows, table

if __name__ == "__main__":
    print("\n".join(table(read_rows())), end="")
