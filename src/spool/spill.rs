//! Mail data on its way in: in memory, or in a temporary file once it is large.

use bytes::Bytes;
use std::io;

/// The data of one message, received and unstuffed.
#[derive(Debug)]
pub enum MailData {
    /// All of it in memory.
    Memory(Bytes),
}

impl MailData {
    /// All of it in memory. Blocks while it reads a file.
    pub fn read(self) -> io::Result<Bytes> {
        let MailData::Memory(data) = self;
        Ok(data)
    }
}

impl From<Bytes> for MailData {
    fn from(data: Bytes) -> MailData {
        MailData::Memory(data)
    }
}
