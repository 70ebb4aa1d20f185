//! The same inputs in any order and multiplicity.

use proptest::prelude::*;

use super::*;

#[derive(Clone)]
enum Input {
    Record(Vec<u8>),
    Revocation(Vec<u8>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Record(bytes) => {
                let body = authenticate(bytes, &mesh()).unwrap().body;
                let links = body.chain.links().len();
                write!(
                    f,
                    "{} at {} links {links} epoch {}",
                    body.name, body.issued_at, body.epoch
                )
            }
            Input::Revocation(bytes) => {
                let signed = meshnode_crypto::SignedRevocation::from_bytes(bytes).unwrap();
                write!(f, "{:?}", signed.verify(&mesh()).unwrap())
            }
        }
    }
}

fn input() -> impl Strategy<Value = Input> {
    let record =
        (1_u8..6, 0_u32..38, 0_u32..3, any::<bool>(), 0_u8..8).prop_map(|(n, hours, epoch, by, special)| {
            let chain = if by && n > 1 {
                chain_by(1, n)
            } else {
                founder_chain(n)
            };
            Input::Record(signed(n, chain, hours * HOUR, |body| {
                body.epoch = epoch;
                body.departed = special == 0;
                if special == 1 {
                    body.lanes = vec![LaneKey::from_seed([78; 32]).prove(&mesh(), &node(n), 0)];
                }
                if special == 2 {
                    body.name = Name::parse("same").unwrap();
                }
            }))
        });
    let revocation = (1_u8..6, any::<bool>()).prop_map(|(n, below)| Input::Revocation(revocation(n, below)));
    prop_oneof![6 => record, 1 => revocation]
}

fn view_of(inputs: &[Input], clock: &Clock) -> View {
    let now = clock.at(36 * HOUR);
    let mut directory = directory(clock);
    for input in inputs {
        let _ = match input {
            Input::Record(bytes) => directory.handle_record(bytes, now).map(drop),
            Input::Revocation(bytes) => directory.handle_revocation(bytes, now).map(drop),
        };
    }
    directory.handle_timeout(now);
    let mut view = directory.view(now);
    // How often something came is not part of what is known.
    view.version = 0;
    view.rejected.clear();
    view
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn same_records_in_any_order_and_multiplicity_give_the_same_view(
        (inputs, shuffled) in prop::collection::vec(input(), 1..14).prop_flat_map(|inputs| {
            let repeated = inputs.iter().chain(inputs.iter().step_by(2)).cloned().collect::<Vec<_>>();
            (Just(inputs), Just(repeated).prop_shuffle())
        })
    ) {
        let clock = Clock::new();
        prop_assert_eq!(view_of(&inputs, &clock), view_of(&shuffled, &clock));
    }

    #[test]
    fn garbage_is_refused_and_counted(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let clock = Clock::new();
        let mut directory = directory(&clock);
        prop_assert!(directory.handle_record(&bytes, clock.start()).is_err());
        prop_assert!(directory.handle_revocation(&bytes, clock.start()).is_err());
        prop_assert_eq!(directory.rejected_totals().values().sum::<u64>(), 2);
    }
}
