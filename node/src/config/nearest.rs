//! Which known word a mistyped one was meant to be.

/// The candidate with the fewest edits to `word`, if they are few enough for a slip of the finger.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`
/// (optimal string alignment distance).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["listen", "interface", "cidr", "lanes"];

    #[test]
    fn slips_of_the_finger_are_found() {
        assert_eq!(nearest("lisen", KEYS), Some("listen"));
        assert_eq!(nearest("intreface", KEYS), Some("interface"));
        assert_eq!(nearest("cidrs", KEYS), Some("cidr"));
        assert_eq!(nearest("lane", KEYS), Some("lanes"));
    }

    #[test]
    fn other_words_are_not_taken_for_slips() {
        assert_eq!(nearest("password", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
    }

    #[test]
    fn swapped_neighbours_are_one_edit() {
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("listen", "listen"), 0);
    }
}
