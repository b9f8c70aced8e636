"""Instructions with ground truth: checked against a slow second reading of the scene."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from lisa_ros.sim import absent_questions
from lisa_ros.sim.colours import COLOURS, colours_are_close
from lisa_ros.sim.corpus import IMAGE_SIZE, corpus, pseudo_view
from lisa_ros.sim.grammar import Phrases, expand, with_article
from lisa_ros.sim.instructions import KINDS, SEG, Question, ask
from lisa_ros.sim.needs import NEEDS, Need
from lisa_ros.sim.nouns import Noun
from lisa_ros.sim.phrasings import ANY, FAMILIES, all_phrasings
from lisa_ros.sim.relations import Layout
from lisa_ros.sim.view import View, visible_objects
from lisa_ros.sim.vocabulary import CLASS_FACTS, facts_of


def plain(words: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", words.lower())


def sample(scenes: int, seed: int, held_out: bool = False) -> list[tuple[View, Question]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(scenes):
        view = pseudo_view(rng)
        for question in ask(*view, rng, count=5, image_size=IMAGE_SIZE, held_out=held_out):
            pairs.append((view, question))
    return pairs


@pytest.fixture(scope="module")
def training() -> list[tuple[View, Question]]:
    return sample(2500, seed=1)


@pytest.fixture(scope="module")
def testing() -> list[tuple[View, Question]]:
    return sample(1500, seed=2, held_out=True)


@pytest.fixture(scope="module")
def everything(training, testing) -> list[tuple[View, Question]]:
    return training + testing


def of_kind(pairs, *kinds: str):
    chosen = [(view, question) for view, question in pairs if question.kind in kinds]
    assert len(chosen) > 20, kinds
    return chosen


# --- The shape of questions ---


def test_every_kind_is_asked(training, testing):
    for pairs in (training, testing):
        counts = Counter(question.kind for _, question in pairs)
        assert set(counts) == set(KINDS)
        assert min(counts.values()) > 0.005 * len(pairs)


def test_a_quarter_or_more_of_the_requests_is_for_what_is_absent(training, testing):
    for pairs in (training, testing):
        wanted = [question for _, question in pairs if question.wants_mask]
        refused = sum(not question.targets for question in wanted)
        assert 0.25 <= refused / len(wanted) <= 0.35


def test_words_alone_answer_about_an_eighth(training):
    share = np.mean([not question.wants_mask for _, question in training])
    assert 0.08 < share < 0.16


def test_each_target_has_its_seg_before_its_name(everything):
    for view, question in everything:
        assert question.answer.count(SEG) == len(question.targets)
        assert SEG not in question.instruction + question.explanation
        assert len(set(question.targets)) == len(question.targets)
        classes = {item.instance: item.class_name for item in view.visible}
        names = re.split(r",| and |\.", question.answer.partition(SEG)[2])
        for instance, words in zip(question.targets, names, strict=False):
            assert words.endswith(f" {classes[instance]}"), question
        assert bool(question.targets) == (question.kind not in ("absent", "absent_need", "text"))
        assert question.wants_mask == (question.kind != "text")


def test_targets_come_from_left_to_right(everything):
    for view, question in everything:
        x = {item.instance: item.centre_xy[0] for item in view.visible}
        places = [x[instance] for instance in question.targets]
        assert places == sorted(places)


def test_sentences_are_well_formed(everything):
    for _, question in everything:
        words = f" {question.instruction} {question.answer} {question.explanation} ".lower()
        assert "{" not in words, question
        assert "  " not in words.strip(), question
        assert not re.search(r"\ba [aeio]", words), question
        assert not re.search(r"\ban (?!hour)[^aeiou]", words), question
        assert question.answer[0].isupper()
        assert question.answer.endswith(".")
        if question.explanation:
            assert question.explanation[0].isupper()
            assert question.explanation.endswith(".")


def test_equal_states_of_chance_give_equal_questions():
    assert sample(20, seed=5) == sample(20, seed=5)
    assert sample(20, seed=5) != sample(20, seed=6)


def test_three_hundred_scenes_a_second():
    rng = np.random.default_rng(0)
    views = [pseudo_view(rng) for _ in range(300)]
    start = time.process_time()
    for view in views:
        ask(*view, rng, count=5, image_size=IMAGE_SIZE)
    assert time.process_time() - start < 1.0


def test_questions_about_one_view_differ():
    rng = np.random.default_rng(3)
    view = pseudo_view(rng)
    words = [q.instruction.lower() for q in ask(*view, rng, count=40, image_size=IMAGE_SIZE)]
    assert len(words) > 30
    assert len(set(words)) == len(words)


def test_an_empty_table_is_refused_not_invented():
    rng = np.random.default_rng(0)
    questions = ask([], [], rng, count=60, image_size=IMAGE_SIZE)
    assert questions
    for question in questions:
        assert not question.targets
        assert "I see nothing" in question.answer + question.explanation or (
            question.answer.startswith(("No, there", "There are no"))
        )


# --- The truth of answers ---


def named(question: Question, synonyms: bool = True) -> set[str]:
    """The classes whose names stand in the instruction."""
    words = f" {plain(question.instruction)} "
    found = set()
    for name, facts in CLASS_FACTS.items():
        nouns = [facts.noun]
        if synonyms:
            nouns += [*facts.synonyms, *facts.held_out_synonyms]
        for noun in nouns:
            if any(f" {plain(form)} " in words for form in (noun.text, noun.plural)):
                found.add(name)
    return found


def test_a_name_means_all_objects_of_the_class(testing):
    for view, question in of_kind(testing, "class", "synonym", "several"):
        classes = {item.class_name for item in view.visible if item.instance in question.targets}
        assert len(classes) == 1
        assert classes <= named(question), question
        (name,) = classes
        assert set(question.targets) == {i.instance for i in view.visible if i.class_name == name}
        assert name not in {item.class_name for item in view.unclear}


def test_colours_are_those_of_the_targets(testing):
    words_of = {"gray": "grey", "violet": "purple"}
    for view, question in of_kind(testing, "colour"):
        words = [words_of.get(word, word) for word in plain(question.instruction).split()]
        asked = [word for word in words if word in COLOURS]
        targets = [item for item in view.visible if item.instance in question.targets]
        colour = targets[0].colour
        assert colour in asked
        peers = [i for i in view.visible if i.class_name == targets[0].class_name]
        assert all(item.colour == colour for item in targets)
        for item in peers:
            if item not in targets:
                assert item.colour is not None
                assert not colours_are_close(item.colour, str(colour))


def phrases_of(need: Need) -> set[str]:
    groups = (need.do, need.thing, need.say)
    return {plain(words) for g in groups for kept in (False, True) for words in g.wordings(kept)}


PHRASES_OF = {need.name: phrases_of(need) for need in NEEDS}


def needs_meant(question: Question) -> list[Need]:
    """The needs of which a phrase stands in the instruction."""
    words = f" {plain(question.instruction)} "
    return [
        need for need in NEEDS if any(f" {phrase} " in words for phrase in PHRASES_OF[need.name])
    ]


def test_needs_have_all_their_servers_and_no_debatable_ones(testing):
    pairs = of_kind(testing, "need")[:300] + of_kind(testing, "absent_need")[:300]
    for view, question in pairs:
        fits = []
        for need in needs_meant(question):
            everything = (*view.visible, *view.unclear)
            if any(item.class_name in need.debatable for item in everything):
                continue
            servers = {item.instance for item in everything if item.class_name in need.serves}
            refused = question.kind == "absent_need"
            answer = question.answer == need.refusal if refused else True
            fits.append(servers == set(question.targets) and answer)
        assert any(fits), question


def test_places_sizes_and_distances(everything):
    checks = {
        "farther to the left": lambda a, b: a.centre_xy[0] < b.centre_xy[0],
        "farther to the right": lambda a, b: a.centre_xy[0] > b.centre_xy[0],
        "nearer": lambda a, b: a.distance < b.distance,
        "farther away": lambda a, b: a.distance > b.distance,
        "bigger": lambda a, b: a.size_m > b.size_m and a.pixels > b.pixels,
        "smaller": lambda a, b: a.size_m < b.size_m and a.pixels < b.pixels,
    }
    seen = Counter()
    for view, question in of_kind(everything, "spatial", "size"):
        found = re.fullmatch(r"(Nothing|No other (.*)) is (.*)\.", question.explanation)
        if not found:
            continue
        things = {item.instance: item for item in (*view.visible, *view.unclear)}
        target = things.pop(question.targets[0])
        seen[found[3]] += 1
        for other in things.values():
            if found[2] is None or other.class_name == found[2]:
                assert checks[found[3]](target, other), question
    assert set(seen) == set(checks)


def said(
    question: Question, families: Sequence[str], nouns: Sequence[str], **slots: str
) -> set[str]:
    """Which of the families of phrasings stand in the instruction; none where it has a slip."""
    words = f" {plain(question.instruction)} "
    return {
        family
        for family in families
        for held_out in (False, True)
        for wording in FAMILIES[family].wordings(held_out)
        for noun in nouns
        if f" {plain(wording.format(n=noun, **slots))} " in words
    }


def clearly_farther(a, b) -> bool:
    return a.distance >= b.distance + 0.05 and a.distance >= 1.05 * b.distance


def clearly_bigger(a, b) -> bool:
    return a.size_m >= 1.15 * b.size_m and a.pixels >= 1.3 * b.pixels


# What the words claim of a target among its peers, whatever the explanation says.
CLAIMS = {
    **dict.fromkeys(("leftmost", "left_one"), (0, 1)),
    **dict.fromkeys(("rightmost", "right_one"), (0, -1)),
    "second_left": (1, 1),
    "second_right": (1, -1),
    "nearest": lambda a, b: clearly_farther(b, a),
    "farthest": clearly_farther,
    **dict.fromkeys(("biggest", "bigger"), clearly_bigger),
    **dict.fromkeys(("smallest", "smaller"), lambda a, b: clearly_bigger(b, a)),
}


def holds(claim, target, peers: list) -> bool:
    if callable(claim):
        return all(claim(target, peer) for peer in peers if peer is not target)
    rank, sign = claim
    row = sorted(peers, key=lambda item: sign * item.centre_xy[0])
    places = [sign * item.centre_xy[0] for item in row]
    gaps = [b - a for a, b in itertools.pairwise(places)][: rank + 1]
    return row[rank] is target and min(gaps) >= 0.06 * IMAGE_SIZE[1]


def test_words_of_place_and_size_fit_the_target(everything):
    seen = Counter()
    for view, question in of_kind(everything, "spatial", "size"):
        things = [*view.visible, *view.unclear]
        target = next(item for item in things if item.instance == question.targets[0])
        peers = [item for item in things if item.class_name == target.class_name]
        for nouns, among in ((ANY, things), ((facts_of(target.class_name).noun.text,), peers)):
            for family in said(question, tuple(CLAIMS), nouns):
                assert holds(CLAIMS[family], target, among), (family, question)
                seen[family] += 1
    assert set(seen) == set(CLAIMS)


def test_what_is_named_by_its_place_is_there(everything):
    seen = Counter()
    for view, question in of_kind(everything, "text"):
        things = [*view.visible, *view.unclear]
        for family in said(question, ("leftmost", "rightmost", "nearest", "farthest"), ANY):
            fits = [item for item in things if holds(CLAIMS[family], item, things)]
            assert fits, question
            assert facts_of(fits[0].class_name).noun.text in question.answer, question
            seen[family] += 1
    assert len(seen) == 4


RELATIONS = {
    "left": ("left_of", "just_left_of"),
    "right": ("right_of", "just_right_of"),
    "next to": ("next_to",),
    "between": ("between",),
    "behind": ("behind",),
    "in front of": ("in_front_of",),
}


def test_words_of_relations_are_those_of_the_explanation(everything):
    """What explanations say is held by `test_relations_hold`."""
    families = [family for group in RELATIONS.values() for family in group]
    seen = Counter()
    for view, question in of_kind(everything, "relation"):
        target = next(item for item in view.visible if item.instance == question.targets[0])
        where = re.sub(r"^(It is|They are) (to the )?", "", question.explanation).rstrip(".")
        relation = next(name for name in RELATIONS if where.startswith(name))
        slots = dict(zip("ab", re.findall(r"the .*?(?= and the |$)", where), strict=False))
        slots.setdefault("b", "nothing")
        nouns = (*ANY, facts_of(target.class_name).noun.text)
        for family in said(question, families, nouns, **slots):
            assert family in RELATIONS[relation], question
            seen[family] += 1
    assert set(seen) == set(families)


def definite(view: View, words: str):
    """The object that `the red mug`, `the left mug` or `the mug` names."""
    words = words.removeprefix("the ")
    fits = [i for i in view.visible if words == i.class_name]
    if fits:
        assert len(fits) == 1, words
        return fits[0]
    adjective, _, name = words.partition(" ")
    row = sorted((i for i in view.visible if i.class_name == name), key=lambda i: i.centre_xy[0])
    if adjective in COLOURS:
        row = [item for item in row if item.colour == adjective]
        assert len(row) == 1, words
    places = {"left": 0, "middle": 1, "right": -1}
    return row[places.get(adjective, 0)]


def test_answers_name_the_targets_and_nothing_else(everything):
    for view, question in everything:
        names = re.findall(r"\[SEG\] (the .*?)(?:,| and |\.$)", question.answer)
        assert tuple(definite(view, name).instance for name in names) == question.targets, question


def test_relations_hold(everything):
    seen = Counter()
    for view, question in of_kind(everything, "relation"):
        target = next(item for item in view.visible if item.instance == question.targets[0])
        words = re.sub(r"^(It is|They are) ", "", question.explanation).rstrip(".")
        relation, _, rest = (
            words.partition(" the ") if not words.startswith("to the") else ("", "", words)
        )
        x, y = target.centre_xy
        if relation == "":
            side = "left" if rest.startswith("to the left") else "right"
            anchor = definite(view, rest.removeprefix(f"to the {side} of "))
            step = (x - anchor.centre_xy[0]) * (1 if side == "right" else -1)
            assert step > 0.05 * IMAGE_SIZE[1]
            seen[side] += 1
        elif relation == "between":
            a, b = (definite(view, name) for name in f"the {rest}".split(" and "))
            ends = np.array([a.centre_xy, b.centre_xy])
            assert (ends.min(0) - 60 < (x, y)).all()
            assert ((x, y) < ends.max(0) + 60).all()
            seen["between"] += 1
        elif relation == "next to":
            anchor = definite(view, rest)
            distances = {
                item.instance: np.hypot(*np.subtract(item.centre_xy, anchor.centre_xy))
                for item in (*view.visible, *view.unclear)
                if item is not anchor
            }
            assert min(distances, key=lambda k: distances[k]) == target.instance
            seen["next to"] += 1
        else:
            anchor = definite(view, rest)
            nearer, farther = (anchor, target) if relation == "behind" else (target, anchor)
            assert farther.distance > nearer.distance + 0.04
            seen[relation] += 1
    assert set(seen) == {"left", "right", "between", "next to", "behind", "in front of"}


def test_what_is_refused_is_not_there(everything):
    by_text = {facts.noun.text: name for name, facts in CLASS_FACTS.items()}
    of_colour = 0
    for view, question in of_kind(everything, "absent"):
        found = re.fullmatch(r"There (?:is|are) no (.*) here\.", question.answer)
        assert found, question
        colour, _, rest = found[1].partition(" ")
        if found[1] in by_text:
            present = {item.class_name for item in (*view.visible, *view.unclear)}
            assert by_text[found[1]] not in present
            assert not present & set(facts_of(found[1]).look_alikes)
        else:
            of_colour += 1
            peers = [i for i in (*view.visible, *view.unclear) if i.class_name == by_text[rest]]
            assert peers
            assert all(p.colour and not colours_are_close(p.colour, colour) for p in peers)
    assert of_colour > 100


def test_wrong_answers_begin_as_right_ones(training):
    """By the first words of an instruction, so that nothing tells a wrong answer from a right."""

    def frame(question: Question) -> tuple[str, ...]:
        return tuple(question.instruction.lower().split()[:2])

    right = defaultdict(set)
    for _, question in training:
        if question.targets:
            right[frame(question)].add(question.answer.split(SEG)[0])
    known = []
    for _, question in training:
        assert bool(question.wrong_answer) == (question.wants_mask and not question.targets)
        if question.wrong_answer and frame(question) in right:
            known.append(question.wrong_answer.split(SEG)[0] in right[frame(question)])
    assert len(known) > 500
    assert np.mean(known) > 0.97  # rare words may have no right answer like it


def test_a_wrong_answer_has_the_number_of_the_answers_name():
    """A pair of scissors is asked for with "is", and answered with "They are" all the same."""
    rng, seen = np.random.default_rng(0), set()
    layout = Layout([], [], IMAGE_SIZE)
    for facts in CLASS_FACTS.values():
        others = {noun.text for noun in facts.synonyms if noun.be != facts.noun.be}
        for _ in range(200 if others else 0):
            instruction = absent_questions._instruction_for_absent(facts, layout, rng, False)
            named = {text for text in others if f" {text}" in instruction.text.lower()}
            if named:
                assert instruction.be == facts.noun.be, instruction
                seen |= named
    assert {"pair of scissors", "headset"} <= seen


def test_people_speak_of_their_own_needs(training, testing):
    """Nobody says "my friend wants to tidy my hair", nor asks by "take the mug?"."""
    words = [question.instruction.lower() for _, question in (*training, *testing)]
    other = re.compile(r"(friend|somebody|who) wants [^,]*\b(my|myself|me)\b")
    assert not [text for text in words if other.search(text)]
    assert not [text for text in words if re.match(r"please .* please\W*$", text)]
    assert not [text for text in words if re.match(r"(do|can) (?!you|i\b).*\?$", text)]
    assert not [text for text in words if re.search(r"\b(are|is) (each|any|every)\b", text)]


def test_no_other_name_is_said_where_a_look_alike_is_in_view(everything):
    """`The pen` may be the pencil or the marker."""
    seen = Counter()
    for view, question in of_kind(everything, "synonym", "several", "colour"):
        classes = {item.instance: item.class_name for item in view.visible}
        facts = facts_of(classes[question.targets[0]])
        present = {item.class_name for item in (*view.visible, *view.unclear)}
        if not present & set(facts.look_alikes):
            continue
        own = f" {plain(facts.noun.text)} {plain(facts.noun.plural)} "
        words = f" {plain(question.instruction)} "
        for noun in (*facts.synonyms, *facts.held_out_synonyms):
            for form in (f" {plain(noun.text)} ", f" {plain(noun.plural)} "):
                assert form in own or form not in words, question
        seen[question.kind] += 1
    assert min(seen["several"], seen["colour"]) > 20
    assert not seen["synonym"]


def test_a_wrong_answer_for_several_shows_two(training):
    """Else a model would never learn to doubt the second of them."""
    shown = Counter(question.wrong_answer.count(SEG) for _, question in training)
    assert set(shown) == {0, 1, 2}
    several = [q.wrong_answer for _, q in training if q.wrong_answer.count(SEG) == 2]
    pattern = r"There are two: \[SEG\] the left (.*) and \[SEG\] the right (.*)\."
    names = [re.fullmatch(pattern, answer) for answer in several]
    assert len(names) > 10
    assert all(name and name[1] == name[2] for name in names)


def test_captions_list_all_visible_objects(everything):
    numbers = dict(zip(("two", "three", "four", "five"), range(2, 6), strict=True))
    openings = Counter()
    for view, question in of_kind(everything, "text"):
        found = re.fullmatch(r"(I see|From .*:) (.*)\.", question.answer)
        if not found or not view.visible:
            continue
        openings[found[1]] += 1
        parts = re.split(r", | and ", found[2])
        counts = [numbers.get(part.split(" ")[0], 1) for part in parts]
        assert sum(counts) == len(view.visible), question
        first = re.sub(r"^(a|an) ", "", parts[0])
        row = sorted(view.visible, key=lambda item: item.centre_xy[0])
        if "near" in found[1]:
            row = sorted(view.visible, key=lambda item: item.distance)
        if found[1].startswith("From right"):
            row.reverse()
        if counts[0] == 1:
            assert first.endswith(facts_of(row[0].class_name).noun.text), question
    assert len(openings) == 4


def test_numbers_and_colours_in_words(everything):
    counted = coloured = 0
    for view, question in of_kind(everything, "text"):
        found = re.fullmatch(r"The (.*) (?:is|are) (.*)\.", question.answer)
        if found:
            coloured += 1
            assert [i.colour for i in view.visible if i.class_name == found[1]] == [found[2]]
        found = re.fullmatch(r"There (?:is|are) (no|one|two|three) (.*)\.", question.answer)
        if found and not found[2].startswith("object"):
            counted += 1
            number = ("no", "one", "two", "three").index(found[1])
            names = [
                name
                for name, facts in CLASS_FACTS.items()
                if found[2] in (facts.noun.counted, facts.noun.plural)
            ]
            assert sum(i.class_name == names[0] for i in view.visible) == number
    assert min(counted, coloured) > 50


def test_no_question_hinges_on_an_unclear_object(everything):
    for view, question in everything:
        assert not {item.instance for item in view.unclear} & set(question.targets)


# --- Phrasings ---


def test_words_kept_for_testing_are_not_trained_on(training, testing):
    seen = {plain(words) for _, words in all_phrasings(held_out=False)}
    kept = {plain(words) for _, words in all_phrasings(held_out=True)}
    assert len(kept) > 400
    assert not seen & kept
    asked = {plain(question.instruction) for _, question in training}
    assert not asked & {plain(question.instruction) for _, question in testing}
    assert all(question.held_out for _, question in testing)
    assert not any(question.held_out for _, question in training)


def test_every_kind_of_sentence_has_many_phrasings():
    assert len(list(FAMILIES["request"].wordings())) > 100
    assert len(list(FAMILIES["question"].wordings())) >= 20
    for family, phrases in FAMILIES.items():
        assert len(list(phrases.wordings())) >= 3, family
        assert list(phrases.wordings(held_out=True)), family


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.name)
def test_needs_are_complete(need):
    assert need.serves
    assert not need.serves & need.debatable
    assert need.serves | need.debatable <= set(CLASS_FACTS)
    groups = (need.do, need.thing, need.say)
    frames = [len(list(FAMILIES[f"need_{name}"].wordings())) for name in ("do", "thing", "say")]
    phrases = [len(list(group.wordings())) for group in groups]
    assert sum(phrases) >= 12
    assert np.dot(frames, phrases) > 200
    assert all(group.test for group in groups)
    assert need.refusal.startswith("There is no")


def test_a_phrase_means_one_need():
    owners = Counter(
        (plain(words)) for family, words in all_phrasings(held_out=False) if family[:5] == "need:"
    )
    assert [words for words, count in owners.items() if count > 1] == []
    assert len(NEEDS) >= 45


def test_a_name_means_one_class():
    owners: dict[str, str] = {}
    for name, facts in CLASS_FACTS.items():
        for noun in (facts.noun, *facts.synonyms, *facts.held_out_synonyms):
            assert owners.setdefault(noun.text.lower(), name) == name
        held_out = {noun.text for noun in facts.held_out_synonyms}
        assert len(facts.synonyms) >= 2
        assert held_out
        assert not held_out & {noun.text for noun in facts.synonyms}
        assert len(facts.facts) >= 2
        assert set(facts.look_alikes) <= set(CLASS_FACTS)


def test_every_class_of_the_catalogue_has_facts():
    catalog = pytest.importorskip("lisa_ros.sim.catalog")
    for name in catalog.CLASS_NAMES:
        facts_of(name)
    assert set(catalog.COLOURS) == set(COLOURS)
    with pytest.raises(KeyError, match="add it to the table"):
        facts_of("unicorn")


def test_every_need_is_served_by_the_catalogue():
    catalog = pytest.importorskip("lisa_ros.sim.catalog")
    unserved = [need.name for need in NEEDS if not need.serves & set(catalog.CLASS_NAMES)]
    assert not unserved


def test_corpus_is_repeatable_and_rich():
    sentences = list(corpus(2000, seed=4))
    assert sentences == list(corpus(2000, seed=4))
    assert len(set(sentences)) > 2500
    words = {word for sentence in sentences for word in plain(sentence).split()}
    assert len(words) > 800


# --- Small parts ---


def test_templates_expand():
    assert expand("[please |]take [it|them]") == (
        "please take it",
        "please take them",
        "take it",
        "take them",
    )
    phrases = Phrases.parse("a; b [c|d] || e")
    assert list(phrases.wordings()) == ["a", "b c", "b d"]
    assert list(phrases.wordings(held_out=True)) == ["e"]


@pytest.mark.parametrize(
    ("noun", "article", "plural"),
    [
        ("mug", "a mug", "mugs"),
        ("orange", "an orange", "oranges"),
        ("scissors+", "scissors", "pairs of scissors"),
        ("milk~", "milk", "cartons of milk"),
        ("battery", "a battery", "batteries"),
        ("knife", "a knife", "knives"),
        ("box of milk", "a box of milk", "boxes of milk"),
        ("toy car", "a toy car", "toy cars"),
    ],
)
def test_nouns(noun, article, plural):
    assert Noun.parse(noun).a() == article
    assert Noun.parse(noun).plural == plural
    assert with_article("orange mug") == "an orange mug"


def test_view_measures_what_a_frame_shows():
    ids = np.zeros((40, 60), np.uint8)
    depth = np.full((40, 60), 2.0, np.float32)
    ids[10:20, 30:50], depth[10:20, 30:50] = 1, 1.0
    depth[10, 30:50] = np.nan
    ids[30:40, 0:4], depth[30:40, 0:4] = 2, 0.8
    ids[0, 0] = 3
    things = [
        SimpleNamespace(instance=k, class_name="mug", colour="red", length=0.2)
        for k in (1, 2, 3, 4)
    ]
    visible, unclear = visible_objects(ids, depth, things, min_pixels=20)
    assert [item.instance for item in visible] == [2, 1]
    assert [item.instance for item in unclear] == [3]
    mug = visible[1]
    assert mug.box_xyxy == (30, 10, 50, 20)
    assert mug.centre_xy == (39.5, 14.5)
    assert (mug.pixels, mug.distance, mug.size_m) == (200, 1.0, 0.2)
    with pytest.raises(ValueError, match="one size"):
        visible_objects(ids, depth[:10], things, min_pixels=20)
