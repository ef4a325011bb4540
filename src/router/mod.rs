//! Where a packet goes. Never reads a clock, a file or a socket.
