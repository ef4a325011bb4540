//! Who should be alive. Never reads a clock, a file or a socket.
