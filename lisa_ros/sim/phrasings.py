"""How people ask: frames around an object's name or a need, and names by place and size.

In each text the phrasings after `||` are kept for testing (see `grammar.Phrases`). `{x}` is the
object's name with its article, `{n}` a bare noun, `{a}` and `{b}` other objects, `{be}` is/are.
"""

from __future__ import annotations

from collections.abc import Iterator

from lisa_ros.sim.grammar import Phrases
from lisa_ros.sim.needs import NEEDS

# Requests. They are answered with "Sure, [SEG] the mug."
REQUESTS = Phrases.parse("""
    [please |robot, |hey robot, |]bring me {x}[ please| now|];
    [please |robot, |]give me {x}[ please|];
    [please |robot, |]hand me {x}[ please|];
    [please |]pass me {x}[ please|];
    [please |robot, |]pick up {x}[ please|];
    [please |robot, |]grab {x}[ please| for me|];
    [please |]get me {x}[ please|];
    [please |]take {x}; [please |]bring {x} over here;
    [please |robot, |]find {x}[ for me| please|];
    [please |]show me {x}[ please|];
    [please |robot, |]point at {x};
    [please |]point to {x};
    [please |]look for {x};
    [please |robot, |]go to {x};
    [please |]fetch {x}[ for me|];
    [please |]lift {x}; [please |]hold {x}; [please |]touch {x};
    [please |]move {x}[ away| to me|]; [please |]put {x} [away|into the box|aside|on the shelf];
    [please |]segment {x}[ in this image|]; [please |]highlight {x}[ in the image|];
    [please |]mark {x}; [please |]select {x}; [please |]detect {x}; [please |]outline {x};
    [please |]locate {x}[ in the picture|];
    [can|could] you [bring|give|hand|pass|get] me {x};
    [can|could|would] you [pick up|grab|find|take|fetch|move|point at] {x}[ please| for me|];
    can you segment {x}[ in this image|];
    [robot, |]I [want|need] {x}; I would like [to have |]{x}; I'd like {x}; I am looking for {x};
    I want you to [pick up|bring me|find|grab] {x}; I cannot find {x}[, can you help|];
    help me find {x}; let me see {x}; give {x} to me; bring {x} [here|to me|to the kitchen];
    {x}; {x} please;
    ||
    I have lost {x}; would you kindly get {x} for me; go and get {x};
    search for {x}; it would be nice to have {x} now; put a mark on {x}; take hold of {x};
    robot, move to {x} and pick it up; hand {x} over to me; draw the outline of {x};
    could you help me to find {x}; I need you to bring {x} to me
""")

# Questions. They are answered with "It is [SEG] the mug."
QUESTIONS = Phrases.parse("""
    where {be} {x}[ in this image| on the table|]; where can I find {x}; where do you see {x};
    what {be} {x} in this image; which of [these|the things|the objects] {be} {x};
    do you know where {x} {be};
    can you [show|tell] me where {x} {be}; show me where {x} {be}; I wonder where {x} {be};
    tell me where {x} {be}; in which place {be} {x}; where in the [image|picture] {be} {x};
    where did I put {x}; where {be} {x} now
    ||
    do you have an idea where {x} {be}; where on the table can I find {x};
    please tell me where I can see {x}; in this picture, where {be} {x};
    which part of the image shows {x}
""")

NEED_BY_DO = Phrases.parse("""
    {do}; please {do}; robot, {do}; [can|could] you {do}[ for me|]; help me [to |]{do};
    I want to {do}[, what can I use| now|]; I would like to {do}; I'd like to {do};
    I need to {do}; I have to {do}[, what helps|]; I am going to {do};
    what [can|would|should] I use to {do}; what do I need to {do};
    which object [helps to|is used to] {do};
    which [of these things|object here] can I use to {do}; what would you use to {do};
    what helps me to {do}; with which [thing|object] can I {do};
    [give|bring|hand] me [something|what I need|the right thing] to {do};
    I need something to {do}; find something to {do}; show me what I need to {do};
    I am looking for something to {do}; what should I take to {do}; we want to {do};
    my friend wants to {do}; how can I {do}; let us {do}; I must {do}; it is time to {do}
    ||
    what here would help someone who wants to {do}; I plan to {do}, what do I need;
    pick up what people use to {do}; imagine you want to {do}, what would you take;
    tell me what I could use to {do}; somebody wants to {do}; get the thing that I need to {do};
    which object would be right if I want to {do}
""")

NEED_BY_THING = Phrases.parse("""
    I need {thing}; I want {thing}; [please |robot, |][give|bring|hand|get] me {thing}[ please|];
    [please |]find {thing}; show me {thing}; I am looking for {thing}; [please |]pick up {thing};
    [can|could] you [give|bring|hand|find|get] me {thing}; where can I find {thing};
    I would like [to have |]{thing}; which object is {thing}; which of these things is {thing};
    what here is {thing}; do you have {thing} for me; point at {thing};
    look for {thing}; {thing}; {thing} please; we need {thing}; fetch {thing}; grab {thing};
    what on the table is {thing}; segment {thing}; go to {thing}
    ||
    search the table for {thing}; I could use {thing} now; it would be nice to have {thing};
    please pass over {thing}; take {thing} and bring it here
""")

NEED_BY_SAYING = Phrases.parse("""
    {say}; {say}; robot, {say}; {say}, can you help me; {say}, what [helps|can I use|should I take];
    {say}, [give|bring|hand] me [something that helps|what I need|the right thing];
    {say}, which object do I need; {say}, please help; {say}, show me what helps;
    {say}, what do I need; hey robot, {say}; {say}, find something for me
    ||
    {say}, do you see a thing that helps; {say}, so what should I pick up;
    {say}, which thing on the table is right for me; help me, robot, {say}
""")

# Names by place and size; `{n}` is "mug" or, for any class, "object".
ANY = ("object", "thing", "item", "one")
LEFTMOST = Phrases.parse("""
    the leftmost {n}; the {n} on the far left; the first {n} from the left;
    the {n} farthest to the left; the {n} furthest left
    || the {n} at the left end; the {n} that is most to the left
""")
RIGHTMOST = Phrases.parse("""
    the rightmost {n}; the {n} on the far right; the first {n} from the right;
    the {n} farthest to the right; the {n} furthest right
    || the {n} at the right end; the {n} that is most to the right
""")
SECOND_LEFT = Phrases.parse("""
    the second {n} from the left; the 2nd {n} from the left; {n} number two from the left
    || the second {n} when counting from the left
""")
SECOND_RIGHT = Phrases.parse("""
    the second {n} from the right; the 2nd {n} from the right; {n} number two from the right
    || the second {n} when counting from the right
""")
NEAREST = Phrases.parse("""
    the nearest {n}; the {n} closest to [the camera|you|the robot]; the closest {n};
    the {n} nearest to [the camera|you]; the {n} at the very front; the front {n}
    || the {n} that is nearest to the robot; the {n} with the smallest distance to the camera
""")
FARTHEST = Phrases.parse("""
    the farthest {n}; the {n} farthest from [the camera|you|the robot]; the furthest {n};
    the {n} farthest away; the {n} at the very back; the rear {n}
    || the {n} that is farthest from the robot; the {n} with the largest distance to the camera
""")
BIGGEST = Phrases.parse("""
    the biggest {n}; the largest {n}; the [very |]big {n}; the {n} that is the biggest;
    the {n} of the largest size || the {n} that is largest; the {n} that takes the most space
""")
SMALLEST = Phrases.parse("""
    the smallest {n}; the tiniest {n}; the [very |]small {n}; the {n} that is the smallest;
    the {n} of the smallest size || the {n} that is tiniest; the {n} that takes the least space
""")
# Only for a class of which there are two.
LEFT_ONE = Phrases.parse("the left {n}; the {n} on the left; the left-hand {n} || the {n} at left")
RIGHT_ONE = Phrases.parse(
    "the right {n}; the {n} on the right; the right-hand {n} || the {n} at right"
)
BIGGER = Phrases.parse(
    "the bigger {n}; the larger {n}; the big {n}; the large {n} || the great {n}"
)
SMALLER = Phrases.parse("the smaller {n}; the small {n}; the little {n} || the tinier {n}")

LEFT_OF = Phrases.parse("""
    the {n} to the left of {a}; the {n} left of {a}; the {n} on the left side of {a};
    the {n} left from {a} || the {n} at the left side of {a}; the {n} that is left of {a}
""")
RIGHT_OF = Phrases.parse("""
    the {n} to the right of {a}; the {n} right of {a}; the {n} on the right side of {a};
    the {n} right from {a} || the {n} at the right side of {a}; the {n} that is right of {a}
""")
# The nearest one on that side, where there are more.
JUST_LEFT_OF = Phrases.parse("""
    the {n} [just|directly] to the left of {a}; the {n} [just|directly] left of {a};
    the next {n} to the left of {a}; the next {n} on the left side of {a}
    || the first {n} to the left of {a}; the {n} directly on the left of {a}
""")
JUST_RIGHT_OF = Phrases.parse("""
    the {n} [just|directly] to the right of {a}; the {n} [just|directly] right of {a};
    the next {n} to the right of {a}; the next {n} on the right side of {a}
    || the first {n} to the right of {a}; the {n} directly on the right of {a}
""")
NEXT_TO = Phrases.parse("""
    the {n} next to {a}; the {n} nearest to {a}; the {n} closest to {a}; the {n} beside {a};
    the {n} near {a}; the {n} by {a}
    || the {n} that is closest to {a}; the {n} that lies nearest to {a}
""")
BETWEEN = Phrases.parse("""
    the {n} between {a} and {b}; the {n} in between {a} and {b};
    the {n} in the middle between {a} and {b}; the {n} that is between {a} and {b}
    || the {n} with {a} and {b} on both sides; the {n} that has {a} and {b} as neighbours
""")
BEHIND = Phrases.parse("""
    the {n} behind {a}; the {n} right behind {a}; the {n} at the back of {a};
    the {n} that is behind {a} || the {n} hiding behind {a}; the {n} to the rear of {a}
""")
IN_FRONT_OF = Phrases.parse("""
    the {n} in front of {a}; the {n} right in front of {a}; the {n} before {a};
    the {n} that is in front of {a} || the {n} standing before {a}; the {n} at the front of {a}
""")

# All objects of a class; `{n}` is a plural.
ALL_OF = Phrases.parse("""
    all {n}; the {n}; all the {n}; all {n} that you see; all the {n} that are there; all {n} here
    || all of the {n}; all the {n} that there are
""")

# Questions answered in words alone.
CAPTION_LEFT_RIGHT = Phrases.parse("""
    name the objects from left to right; describe the scene from left to right;
    list everything from left to right; what do you see from left to right;
    tell me what is on the table from left to right; read out the objects from left to right
    || going from left to right, what do you see; describe the table from left to right
""")
CAPTION_RIGHT_LEFT = Phrases.parse("""
    name the objects from right to left; describe the scene from right to left;
    list everything from right to left; what do you see from right to left
    || going from right to left, what do you see
""")
CAPTION_NEAR_FAR = Phrases.parse("""
    name the objects from near to far; describe the scene from front to back;
    list everything from near to far; what do you see from front to back;
    list the objects by distance || going from front to back, what do you see
""")
CAPTION = Phrases.parse("""
    what is on the table; what do you see[ here|]; describe the scene; describe the image;
    what can you see; tell me what you see; what objects are there; what is in this image;
    list all objects; name everything you see; what lies on the table; what is there
    || please describe what is there; which objects do you see; tell me what is there
""")
HOW_MANY = Phrases.parse("""
    how many {n} are there; how many {n} do you see; count the {n}; what is the number of {n};
    how many {n} are on the table; tell me how many {n} there are
    || tell me the number of {n}; how many {n} can you see
""")
HOW_MANY_OBJECTS = Phrases.parse("""
    how many objects are there; how many things do you see; count the objects;
    how many things are on the table || how many objects can you count
""")
IS_THERE = Phrases.parse("""
    {be} there {x}; {be} there {x} on the table; can you see {x} here; {be} {x} on the table;
    {be} {x} in the picture; tell me if there {be} {x}
    || {be} there {x} in the picture; tell me whether there {be} {x}
""")
WHAT_COLOUR = Phrases.parse("""
    what colour {be} {x}; which colour {be} {x}; tell me the colour of {x};
    what is the colour of {x}; name the colour of {x}; what color {be} {x}
    || which colour do you see on {x}; say the colour of {x}
""")
NAME_OF = Phrases.parse("""
    name {x}; what is the name of {x}; tell me what {x} is; say what {x} is; what do you call {x};
    what kind of object is {x}
    || tell me the name of {x}; what kind of thing is {x}
""")


FAMILIES: dict[str, Phrases] = {
    "request": REQUESTS,
    "question": QUESTIONS,
    "need_do": NEED_BY_DO,
    "need_thing": NEED_BY_THING,
    "need_say": NEED_BY_SAYING,
    "leftmost": LEFTMOST,
    "rightmost": RIGHTMOST,
    "second_left": SECOND_LEFT,
    "second_right": SECOND_RIGHT,
    "nearest": NEAREST,
    "farthest": FARTHEST,
    "biggest": BIGGEST,
    "smallest": SMALLEST,
    "left_one": LEFT_ONE,
    "right_one": RIGHT_ONE,
    "bigger": BIGGER,
    "smaller": SMALLER,
    "left_of": LEFT_OF,
    "right_of": RIGHT_OF,
    "just_left_of": JUST_LEFT_OF,
    "just_right_of": JUST_RIGHT_OF,
    "next_to": NEXT_TO,
    "between": BETWEEN,
    "behind": BEHIND,
    "in_front_of": IN_FRONT_OF,
    "all_of": ALL_OF,
    "caption_left_right": CAPTION_LEFT_RIGHT,
    "caption_right_left": CAPTION_RIGHT_LEFT,
    "caption_near_far": CAPTION_NEAR_FAR,
    "caption": CAPTION,
    "how_many": HOW_MANY,
    "how_many_objects": HOW_MANY_OBJECTS,
    "is_there": IS_THERE,
    "what_colour": WHAT_COLOUR,
    "name_of": NAME_OF,
}


def all_phrasings(*, held_out: bool) -> Iterator[tuple[str, str]]:
    """(family, wording) of everything people say here, with the slots open.

    The needs come as families `need:NAME`, with their phrases.
    """
    for family, phrases in FAMILIES.items():
        for wording in phrases.wordings(held_out):
            yield family, wording
    for item in NEEDS:
        for phrases in (item.do, item.thing, item.say):
            for wording in phrases.wordings(held_out):
                yield f"need:{item.name}", wording
