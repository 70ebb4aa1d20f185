//! Text in its own column, over as many lines as it needs.

/// Less room than this, and text is left to the terminal.
const LEAST_ROOM: usize = 20;

/// `text` for a column that begins after `indent` characters: what does not fit a `screen` of that width goes on below,
/// in the same column. Without a screen it stays one line.
pub fn hanging(text: &str, indent: usize, screen: Option<usize>) -> String {
    let room = screen.map_or(usize::MAX, |screen| screen.saturating_sub(indent));
    if room < LEAST_ROOM {
        return text.to_owned();
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines
            .last_mut()
            .filter(|line| line.chars().count() + 1 + word.chars().count() <= room)
        {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests {
    use super::hanging;

    #[test]
    fn words_go_on_in_their_column() {
        let text = "three probes in a row were lost";
        assert_eq!(hanging(text, 4, Some(24)), "three probes in a\n    row were lost");
        assert_eq!(hanging(text, 4, None), text);
        assert_eq!(hanging(text, 10, Some(24)), text, "no room for a column");
        assert_eq!(hanging("", 4, Some(40)), "");
    }

    #[test]
    fn a_word_that_fits_no_line_stays_whole() {
        assert_eq!(
            hanging("a 2001:db8:1234:5678::/64 b", 0, Some(20)),
            "a\n2001:db8:1234:5678::/64\nb"
        );
    }
}
