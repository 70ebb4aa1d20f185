//! A connection of WireGuard's configuration protocol: requests are lines up to an empty one, and several may follow each
//! other.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// One connection.
pub struct Conversation {
    lines: BufReader<Take<OwnedReadHalf>>,
    answers: OwnedWriteHalf,
    longest: u64,
}

impl Conversation {
    /// A request of more than `longest` bytes ends it.
    pub fn new(stream: UnixStream, longest: u64) -> Conversation {
        let (read, answers) = stream.into_split();
        Conversation {
            lines: BufReader::new(read.take(longest)),
            answers,
            longest,
        }
    }

    /// The next request; `None` when the other side has enough.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        self.lines.get_mut().set_limit(self.longest);
        next_request(&mut self.lines).await
    }

    /// Answers the last request.
    pub async fn answer(&mut self, text: &str) -> io::Result<()> {
        self.answers.write_all(text.as_bytes()).await
    }
}

/// The lines up to an empty one; `None` at the end of the connection.
async fn next_request(lines: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    // Each line on its own: read_line looks at all of the text that it appends to, and there may be 100,000 lines.
    let (mut request, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        request.push_str(&line);
        if line.trim_end_matches(['\r', '\n']).is_empty() {
            return Ok(Some(request));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_end_at_an_empty_line_and_may_follow_each_other() {
        let mut input = BufReader::new(&b"get=1\n\nset=1\nlisten_port=1\n\nget=1\n"[..]);
        assert_eq!(
            next_request(&mut input).await.unwrap().as_deref(),
            Some("get=1\n\n")
        );
        assert_eq!(
            next_request(&mut input).await.unwrap().as_deref(),
            Some("set=1\nlisten_port=1\n\n")
        );
        assert_eq!(next_request(&mut input).await.unwrap(), None);
    }
}
