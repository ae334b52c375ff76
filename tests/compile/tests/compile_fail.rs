//! DL1, DL2 and DL3 cannot be written against the public API: the compiler refuses them, for the
//! reason that is recorded beside each program. The control shows that it is the order that it
//! refuses, not the steps.

#[test]
fn the_deadlocks_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("accepted/*.rs");
    cases.compile_fail("refused/*.rs");
}
