//! What bytes mean. Never reads a clock, a file or a socket.
