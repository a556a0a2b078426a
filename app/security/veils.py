"""Names for numbered rows: who reads one learns neither the number nor how many there are.

Rows that are only ever appended are numbered, because that is their order. The number itself
would tell how much happens in the whole deployment; its name tells nothing and leads back.
"""

from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_HALF = 8


class Veil:
    """The names of the rows that concern one thing. `key` has 32 bytes and stays the same."""

    def __init__(self, key: bytes, concerned: UUID) -> None:
        # Sixteen octets are one block, on which the cipher is a permutation: nothing repeats.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 (a single block)
        self._concerned = concerned.bytes[-_HALF:]

    def name(self, number: int) -> UUID:
        """The name of a row; the same whenever it is asked for."""
        encryptor = self._cipher.encryptor()
        block = self._concerned + number.to_bytes(_HALF, "big")
        return UUID(bytes=encryptor.update(block) + encryptor.finalize())

    def number(self, name: UUID) -> int | None:
        """The row of a name; None when it was not given here, or concerns something else."""
        decryptor = self._cipher.decryptor()
        block = decryptor.update(name.bytes) + decryptor.finalize()
        if block[:_HALF] != self._concerned:
            return None
        return int.from_bytes(block[_HALF:], "big")
