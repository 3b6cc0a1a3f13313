"""Print this machine's card."""

from qlab.machine.cache import card

if __name__ == "__main__":
    print(card())
