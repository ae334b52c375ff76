//! Affine relations between columns of integers, modulo 2^64.
//!
//! They hold at some points and, from there, in some directions. What is found is a guess: whoever
//! uses it has to show it.

#![forbid(unsafe_code)]

/// `column = constant + Σ factor · earlier column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) column: usize,
    /// Columns with their factors; none has a relation itself.
    pub(super) factors: Vec<(usize, u64)>,
    pub(super) constant: u64,
}

impl Relation {
    /// What the column has to be at a point.
    fn value(&self, point: &[u64]) -> u64 {
        self.constant.wrapping_add(self.change(point))
    }

    /// What the column changes by in a direction.
    fn change(&self, direction: &[u64]) -> u64 {
        self.factors.iter().fold(0_u64, |sum, (column, factor)| {
            sum.wrapping_add(direction[*column].wrapping_mul(*factor))
        })
    }
}

/// A relation for each column that one is found for.
///
/// Elimination on the directions and the differences of the points. A pivot is the entry of a
/// column with the fewest zeros at its end, so that it divides the others.
pub(super) fn relations(points: &[Vec<u64>], directions: &[Vec<u64>]) -> Vec<Relation> {
    let Some((first, others)) = points.split_first() else { return Vec::new() };
    let minus = |row: &Vec<u64>| row.iter().zip(first).map(|(a, b)| a.wrapping_sub(*b)).collect();
    let mut rows: Vec<Vec<u64>> =
        directions.iter().cloned().chain(others.iter().map(minus)).collect();
    // The column of each row that is done with; the rows are in the same order.
    let mut pivots = Vec::new();
    let mut found = Vec::new();
    for column in 0..first.len() {
        let done = pivots.len();
        let open = (done..rows.len()).filter(|row| rows[*row][column] != 0);
        if let Some(row) = open.min_by_key(|row| rows[*row][column].trailing_zeros()) {
            rows.swap(done, row);
            eliminate(&mut rows, done, column);
            pivots.push(column);
            continue;
        }
        let Some(factors) = solve(&rows, &pivots, column) else { continue };
        let mut relation = Relation { column, factors, constant: 0 };
        relation.constant = first[column].wrapping_sub(relation.value(first));
        let on_points = points.iter().all(|point| relation.value(point) == point[column]);
        if on_points && directions.iter().all(|way| relation.change(way) == way[column]) {
            found.push(relation);
        }
    }
    found
}

/// Makes the column 0 in all rows behind the pivot's.
fn eliminate(rows: &mut [Vec<u64>], pivot: usize, column: usize) {
    let (before, behind) = rows.split_at_mut(pivot + 1);
    let row = &before[pivot];
    for other in behind {
        let Some(factor) = quotient(other[column], row[column]) else { continue };
        for (entry, by) in other.iter_mut().zip(row) {
            *entry = entry.wrapping_sub(by.wrapping_mul(factor));
        }
    }
}

/// A column as a sum of the pivots' columns.
fn solve(rows: &[Vec<u64>], pivots: &[usize], column: usize) -> Option<Vec<(usize, u64)>> {
    let mut factors: Vec<(usize, u64)> = Vec::new();
    for (row, pivot) in rows.iter().zip(pivots).rev() {
        let rest = factors.iter().fold(row[column], |rest, (other, factor)| {
            rest.wrapping_sub(row[*other].wrapping_mul(*factor))
        });
        factors.push((*pivot, quotient(rest, row[*pivot])?));
    }
    factors.retain(|(_, factor)| *factor != 0);
    Some(factors)
}

/// The `q` with `q · b = a` that is closest to 0, if there is one.
fn quotient(a: u64, b: u64) -> Option<u64> {
    if a == 0 {
        return Some(0);
    }
    let zeros = b.trailing_zeros();
    if b == 0 || a.trailing_zeros() < zeros {
        return None;
    }
    let q = (a >> zeros).wrapping_mul(inverse(b >> zeros));
    // The upper bits are free: those of the sign.
    Some(((q << zeros).cast_signed() >> zeros).cast_unsigned())
}

/// The inverse of an odd number.
fn inverse(odd: u64) -> u64 {
    // Right in three bits; each step doubles them.
    (0..5).fold(odd, |x, _| x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_exact_and_close_to_zero() {
        assert_eq!(quotient(12, 3), Some(4));
        assert_eq!(quotient(8_u64.wrapping_neg(), 8), Some(u64::MAX));
        assert_eq!(quotient(4, 8), None);
        for odd in [1, 3, 0xdead_beef, u64::MAX] {
            assert_eq!(inverse(odd).wrapping_mul(odd), 1);
        }
    }

    #[test]
    fn a_sum_is_found_and_a_column_of_its_own_is_not() {
        // base, done, base + done, 100 - done, anything.
        let row = |base: u64, done: u64, any: u64| {
            vec![base, done, base.wrapping_add(done), 100_u64.wrapping_sub(done), any]
        };
        let samples = [row(7, 8, 3), row(1, 16, 9), row(u64::MAX, 48, 1), row(40, 0, 40)];
        let found = relations(&samples, &[]);
        assert_eq!(found.iter().map(|r| r.column).collect::<Vec<_>>(), [2, 3]);
        let factor = |relation: &Relation, column: usize| {
            relation.factors.iter().find(|(c, _)| *c == column).map(|(_, factor)| *factor)
        };
        assert_eq!((factor(&found[0], 0), factor(&found[0], 1)), (Some(1), Some(1)));
        assert_eq!((factor(&found[1], 1), found[1].constant), (Some(u64::MAX), 100));
    }

    #[test]
    fn a_direction_counts_like_a_second_point() {
        let found = relations(&[vec![0, 7]], &[vec![1, 8]]);
        assert_eq!(found, [Relation { column: 1, factors: vec![(0, 8)], constant: 7 }]);
    }

    #[test]
    fn one_sample_makes_everything_constant() {
        let found = relations(&[vec![5, 6]], &[]);
        assert!(found.iter().all(|relation| relation.factors.is_empty()));
        assert_eq!(found[1].constant, 6);
    }
}
