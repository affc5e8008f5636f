"""The network side beside DCMTK storescp, Orthanc and plain pynetdicom (`python -m bench.net`).

Ours flushes every instance to stable storage before it is acknowledged; of the others Orthanc flushes the object only
and the rest nothing. Receivers are visited in turn within a round, and nothing that was received is removed before the
end: ext4 looks long for an inode beside recently removed ones.
"""

from bench.net.rows import measure

__all__ = ["measure"]
