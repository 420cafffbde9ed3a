//! The English word list behind sentiment: how much approval or disapproval a word carries, from -3 to 3.
//!
//! Written for this program. Words stand in their base form; [`valence`] also knows them with the regular endings.
//! Words whose attitude depends on the matter ("cheap", "small", "long") are left out on purpose.

use std::collections::HashMap;
use std::sync::LazyLock;

const STRONGLY_POSITIVE: &str = "amazing astonishing awesome beloved bliss breathtaking brilliant delight delightful \
    dazzling ecstatic exceptional exhilarating extraordinary exquisite fabulous fantastic flawless glorious heavenly \
    impeccable incredible magnificent marvel marvellous marvelous masterful masterpiece miraculous outstanding \
    overjoyed perfect perfection perfectly phenomenal priceless remarkable sensational spectacular splendid stellar \
    stunning sublime superb superior terrific thrilled thrilling treasure triumph unbeatable unforgettable wonderful \
    wondrous love loved adore adored excellent excellence";

const POSITIVE: &str = "accomplish accomplished accomplishment achieve achievement admirable admire admiration affection \
    affectionate applaud appreciate appreciation attractive beautiful beautifully beauty best bless blessing bravo \
    bright celebrate charm charming cheer cheerful compliment confident congratulate congratulations courage courageous \
    courteous creative dedicated dependable deserve desirable elegant enchanting encourage encouraging energetic \
    engaging enjoy enjoyable enjoyment enthusiasm enthusiastic excite excited exciting fascinating favorite favourite \
    flourish friendly fun generous genius genuine gentle gifted gorgeous graceful gracious grateful gratitude great \
    happily happiness happy healthy heartwarming helpful hero heroic hilarious honest honor honour hopeful ideal \
    immaculate impress impressed impressive ingenious innovative insightful inspire inspiring inspiration intelligent \
    intuitive inviting joy joyful jubilant kind kindness laugh likeable lively lovely loyal luxurious luxury memorable \
    merry motivated neat nice outperform passionate peaceful pleasant pleased pleasing pleasure polite praise \
    precious pretty prosper proud radiant recommend recommended refreshing rejoice reliable relish respectful \
    rewarding robust romantic satisfying satisfied satisfy savvy seamless seamlessly serene sincere skilful skillful \
    smart smile smooth smoothly sparkling spotless succeed success successful successfully sunny supportive supreme \
    sweet talented tasty thankful thank thanks thorough thoughtful thrive tidy top-notch tranquil trusted trustworthy \
    upbeat valuable vibrant victory warm welcome welcoming well-made winner winning wise witty wow yummy delicious \
    delighted beneficial effortless effortlessly favourable favorable attentive knowledgeable responsive comfortable";

const MILDLY_POSITIVE: &str = "acceptable adequate advantage agree agreeable alright approve approval assure benefit \
    better calm capable care caring civil clean clear clever comfort compatible convenient cool correct cozy cosy cute \
    decent durable ease easily easy effective efficient enhance fair fairly faithful fast fine fit flexible fond \
    fresh gain glad good growth handy harmony help helped helping hope improve improved improvement interesting \
    interested keen liked lucky modest nimble okay optimistic organised organized \
    pleasantly polished positive popular practical privilege productive progress promising prompt promptly \
    protect quick quickly ready reasonable relax relaxed relaxing relief respect responsible restful \
    safe safely secure sensible simple solid spacious stable steady straightforward strong sturdy \
    suitable sustainable swift timely tolerant useful user-friendly usable versatile viable warmth willing \
    works worth worthwhile worthy";

const MILDLY_NEGATIVE: &str = "absence absurd ache alas aloof ambiguous anxious argue avoid awkward blame bland blunt blur \
    blurry boring bore bother bug buggy bulky bumpy careless caution cheesy clumsy clunky complain complaint \
    complicated concern concerned confuse confused confusing confusion cramped crash cumbersome delay delayed \
    deny difficult difficulty dirty disagree discomfort dismiss distract doubt doubtful dreary drop dull dusty \
    error excuse expensive fatigue faulty fear flaky flimsy foggy fuss fussy glitch grumble hesitant hesitate \
    hurdle idle impatient inadequate inaccurate inconvenient inconsistent incorrect indifferent inferior insufficient \
    interrupt interruption irregular issue jam lack lacking lag laggy late lazy leak limp lose loss mediocre mess messy \
    misleading missing mistake monotonous moody muddle murky naive needless nervous noisy obscure obsolete odd \
    outdated overpriced overrated pale pity pointless poorly problem problematic questionable redundant refuse \
    regret reject reluctant repetitive resent restless rough rusty sceptical skeptical shabby shallow shortage \
    sloppy slow slowly sluggish smelly sorry sour stale stiff strange stress stressful struggle stubborn stuck tedious \
    tense tiresome tired trouble troublesome uncertain unclear uncomfortable uneasy uneven unfair unfinished unhappy \
    unimpressed uninspired unlucky unnecessary unpleasant unreliable unresponsive unstable unsure untidy unwilling \
    upset vague vulnerable wary wasted waste weak weakness weird worn worried worry wrong wrinkle";

const NEGATIVE: &str = "abandon abandoned afraid aggravate aggravating aggressive alarm alarming anger angry annoy annoyed \
    annoying anguish apologize arrogant ashamed attack bad badly bitter break broke broken brutal burden cheat cheated \
    chaos chaotic coward crappy crazy crime cripple crisis criticise criticize cruel cry damage damaged danger \
    dangerous dead deadly death deceive deceptive defect defective defeat depressed depressing depression despair \
    desperate destroy destroyed destructive deteriorate disappoint disappointed disappointing disappointingly \
    disappointment disapprove discourage dishonest dislike dismal disorder displease displeased disrespectful dissatisfied \
    disturb disturbing doomed dread dreadful embarrass embarrassed embarrassing enemy enrage evil exhausted exhausting \
    exploit fail failed failing fails failure fake fatal filthy foolish fool frantic fraud fraudulent frighten \
    frightening frustrate frustrated frustrating frustration furious gloomy greedy grief grim gross guilty harm harmful \
    harsh hate hated hateful hopeless hostile humiliate humiliating hurt hurtful idiot ignorant ignore ignored illegal \
    incompetent inept inexcusable infuriating injure injury injustice insult insulting irritate irritated irritating \
    jealous junk lie lied lies lying liar lonely lousy mad malfunction malicious miserable misery mock nasty neglect \
    neglected negative nonsense nuisance offend offensive outrage pain painful panic pathetic poison poor punish rage \
    reckless ridicule ridiculous rip-off rotten rude ruin ruined sad sadly sadness scam scare scared scary shame \
    shameful shatter shoddy sinister smash spoil spoiled stink stupid suffer suffering suspicious \
    terrify terrifying terror threat threaten threatening toxic tragedy tragic trash ugly unacceptable unbearable \
    unethical unfortunate unfortunately unfriendly unhelpful unprofessional unsafe unusable useless vicious victim \
    violate violence violent vulgar wicked worse worsen worthless";

const STRONGLY_NEGATIVE: &str = "abhor abhorrent abominable abysmal agony appalling appalled atrocious awful catastrophe \
    catastrophic contempt contemptible deplorable despicable despise detest devastate devastated devastating disaster \
    disastrous disgrace disgraceful disgust disgusted disgusting dire execrable ghastly gruesome heartbreaking \
    heartbroken hellish hideous horrendous horrible horribly horrid horrific horrified horrifying horror inhumane \
    insufferable intolerable loathe loathsome nightmare nightmarish obnoxious outrageous repugnant repulsive revolting \
    sickening terrible terribly traumatic vile worst wretched";

/// Words that make the next one stronger or weaker, by their factor.
const SCALES: &[(f64, &str)] = &[
    (
        1.5,
        "absolutely completely deeply especially exceedingly exceptionally extremely hugely immensely incredibly insanely \
           intensely seriously simply so such super terribly totally thoroughly truly unbelievably utterly very wholly",
    ),
    (1.25, "decidedly highly much particularly quite real really remarkably rather too more most"),
    (
        0.6,
        "almost barely fairly kinda moderately mostly partly pretty relatively slightly somewhat sorta occasionally \
           marginally bit little",
    ),
];

const NEGATIONS: &str = "not no never none nobody nothing neither nor nowhere without cannot cant can't don't dont doesn't \
    doesnt didn't didnt isn't isnt aren't arent wasn't wasnt weren't werent won't wont wouldn't wouldnt shouldn't \
    couldn't couldnt hasn't haven't hadn't ain't hardly scarcely lack lacks lacking";

static VALENCES: LazyLock<HashMap<&'static str, f64>> = LazyLock::new(|| {
    let lists = [
        (3.0, STRONGLY_POSITIVE),
        (2.0, POSITIVE),
        (1.0, MILDLY_POSITIVE),
        (-1.0, MILDLY_NEGATIVE),
        (-2.0, NEGATIVE),
        (-3.0, STRONGLY_NEGATIVE),
    ];
    lists.into_iter().flat_map(|(value, words)| words.split_whitespace().map(move |word| (word, value))).collect()
});

static SCALE_OF: LazyLock<HashMap<&'static str, f64>> = LazyLock::new(|| {
    SCALES.iter().flat_map(|(factor, words)| words.split_whitespace().map(move |word| (word, *factor))).collect()
});

/// The attitude of a folded word; with a regular ending, that of its base form.
pub(super) fn valence(word: &str) -> Option<f64> {
    if let Some(&value) = VALENCES.get(word) {
        return Some(value);
    }
    if word.len() < 5 || !word.is_ascii() {
        return None;
    }
    // (ending, what the base form has in its place)
    let endings = [
        ("ies", "y"),
        ("ied", "y"),
        ("ily", "y"),
        ("es", ""),
        ("s", ""),
        ("ed", ""),
        ("ed", "e"),
        ("ing", ""),
        ("ing", "e"),
        ("ly", ""),
        ("ier", "y"),
        ("iest", "y"),
        ("er", ""),
        ("est", ""),
        ("ness", ""),
    ];
    endings.iter().find_map(|(ending, instead)| {
        let stem = word.strip_suffix(ending).filter(|stem| stem.len() >= 3)?;
        VALENCES.get(format!("{stem}{instead}").as_str()).copied()
    })
}

/// How much a folded word strengthens (above 1) or weakens (below 1) the next one.
pub(super) fn scale(word: &str) -> Option<f64> {
    SCALE_OF.get(word).copied()
}

/// True for words that turn the attitude of the next ones round.
pub(super) fn negates(word: &str) -> bool {
    static WORDS: LazyLock<std::collections::HashSet<&'static str>> =
        LazyLock::new(|| NEGATIONS.split_whitespace().collect());
    WORDS.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_stands_in_two_lists() {
        let lists = [STRONGLY_POSITIVE, POSITIVE, MILDLY_POSITIVE, MILDLY_NEGATIVE, NEGATIVE, STRONGLY_NEGATIVE];
        let mut all: Vec<&str> = lists.iter().flat_map(|list| list.split_whitespace()).collect();
        let total = all.len();
        all.sort_unstable();
        let doubles: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert!(doubles.is_empty(), "{doubles:?}");
        assert!(total > 700, "{total}");
    }

    #[test]
    fn regular_endings_lead_to_the_base_form() {
        for (word, value) in
            [("delays", -1.0), ("worries", -1.0), ("impresses", 2.0), ("happier", 2.0), ("hating", -2.0)]
        {
            assert_eq!(valence(word), Some(value), "{word}");
        }
        assert_eq!(valence("table"), None);
    }
}
