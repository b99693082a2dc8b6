//! The order in which many new keys go into a persistent ordered map so that its leaves become full.
//! It must not change what the map holds, only how much room it takes.

/// Sorted items, every second one first and then those between: an ordered map splits a full leaf in its middle, so that in
/// their own order each leaf would stay half empty for good.
pub fn filling<T>(sorted: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let (mut first, mut between) = (Vec::new(), Vec::new());
    for (place, item) in sorted.into_iter().enumerate() {
        let half = if place.is_multiple_of(2) { &mut first } else { &mut between };
        half.push(item);
    }
    first.into_iter().chain(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_comes_once_and_no_neighbour_comes_next() {
        assert_eq!(filling(0..7).collect::<Vec<_>>(), [0, 2, 4, 6, 1, 3, 5]);
        assert_eq!(filling(0..1).collect::<Vec<_>>(), [0]);
        assert_eq!(filling(0..0).next(), None::<i32>);
    }
}
