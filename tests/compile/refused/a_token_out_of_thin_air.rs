//! The assertion that no lock is held is `unsafe`: somebody has to stand behind it.
use faultless::prelude::*;

fn main() {
    let _token = MayFault::assert();
}
