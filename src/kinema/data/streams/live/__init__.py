"""Live streams: cameras, servers, webcams and pipes, which are read once, in order, as they come."""

from kinema.data.streams.live.address import Address, is_live, live_address
from kinema.data.streams.live.stream import LiveStream

__all__ = ["Address", "LiveStream", "is_live", "live_address"]
