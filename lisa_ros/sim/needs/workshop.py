"""Needs around tools, repairs, paper and light."""

from __future__ import annotations

from lisa_ros.sim.needs.need import Need, need

WORKSHOP: tuple[Need, ...] = (
    need(
        "hang a picture",
        serves="hammer",
        debatable="drill; tape; stapler; screwdriver; pliers; padlock; shoe",
        refusal="There is nothing to drive a nail with here.",
        reason="You can drive a nail into the wall with {a}.",
        do="hang a picture; drive a nail into the wall; hit a nail; put a nail into the wood;"
        " pound a nail; hang up a painting; knock a nail in || hang a painting on the wall;"
        " drive in a nail; pound the nail into the board",
        thing="something to hit a nail with; something to hang a picture with; a tool for nails;"
        " something heavy to pound with || a tool for hanging a picture",
        say="the nail must go into the wall; the picture should hang on the wall; I have a nail"
        " and a picture || there is a nail that I must drive into the wood",
    ),
    need(
        "tighten a screw",
        serves="screwdriver",
        debatable="drill; pliers; knife; hammer",
        refusal="There is nothing to turn a screw with here.",
        reason="You can turn a screw with {a}.",
        do="tighten a screw; loosen a screw; turn a screw; fasten the loose screw; remove the"
        " screws; unscrew the cover; fix the wobbly screw || tighten the loose screws; take"
        " out a screw; unscrew the lid of the box",
        thing="something to turn a screw with; a tool to tighten screws; something for the loose"
        " screw || a tool that turns a screw",
        say="the screw is loose; a screw of my chair came loose; these screws are not tight ||"
        " the chair wobbles because a screw is loose",
    ),
    need(
        "drill a hole",
        serves="drill",
        debatable="screwdriver; hammer; saw",
        refusal="There is nothing to make a hole in the wall with here.",
        reason="You can make a hole in the wall with {a}.",
        do="make a hole in the wall; bore a hole; make holes in a board; bore into concrete;"
        " put a hole through the wood || bore a hole into the wall; make a deep hole in the"
        " board",
        thing="something to make holes with; a tool that bores holes; an electric tool for holes;"
        " a power tool || a power tool that makes holes",
        say="I need a hole in the wall; the wood needs a hole; the wall plug needs a hole ||"
        " there must be a hole in this board",
    ),
    need(
        "saw wood",
        serves="saw",
        debatable="knife; drill; scissors; pliers",
        refusal="There is nothing to cut wood with here.",
        reason="You can cut wood with {a}.",
        do="cut wood; cut a board in half; cut off a branch; shorten a wooden board; cut a"
        " plank; make firewood; fell a small tree || cut a branch in half; shorten the"
        " plank; cut down a tree",
        thing="something to cut wood with; a tool with teeth for wood; something to cut a branch"
        " with || something to cut a plank with",
        say="this board is too long; the branch must be cut off; the tree has to come down ||"
        " the wooden plank is too long for the shelf",
    ),
    need(
        "grip",
        serves="pliers",
        debatable="hammer; scissors; screwdriver; glove",
        refusal="There is nothing to grip a small nut with here.",
        reason="You can grip a small nut with {a}.",
        do="grip a small nut; bend a wire; pull out a nail; squeeze a wire; hold a tiny nut"
        " tight; twist a wire || bend the wire; pull an old nail out of the wood",
        thing="something to bend wire with; a tool to grip a nut; something to pull a nail with;"
        " a gripping tool || a tool for bending a wire",
        say="the wire must be bent; the nut is too small for my fingers; I cannot grip the nail"
        " || I cannot bend this wire with my fingers",
    ),
    need(
        "measure length",
        serves="tape measure; ruler",
        debatable="phone; tablet",
        refusal="There is nothing to measure a length with here.",
        reason="You can measure a length with {a}.",
        do="measure the length; find out how long the table is; measure the width of the"
        " shelf; check the size of a box; measure how tall the box is || measure how wide"
        " the box is; find out the length of the shelf",
        thing="something to measure with; something to measure a length with; something with a"
        " scale in inches || something with a scale for the length",
        say="I wonder how long this is; how many inches is this table; how wide is the shelf; I"
        " must know the length of the table || I have to know how wide the table is",
    ),
    need(
        "cut",
        serves="scissors; knife; saw",
        debatable="fork; screwdriver; cactus; pencil; drill; pliers; glass; stapler",
        refusal="There is nothing to cut with here.",
        reason="You can cut with {a}.",
        do="cut things; cut something off; cut something; cut it in two || cut this into two"
        " pieces",
        thing="something sharp to cut with; something to cut with; something with a blade; a"
        " cutting tool; something that cuts; something sharp with a blade || a sharp tool"
        " with a blade; a thing that can cut",
        say="this has to be cut off; this must be cut in two; keep blades away from children;"
        " be careful with sharp blades || sharp blades are not for children",
    ),
    need(
        "cut paper",
        serves="scissors",
        debatable="knife; stapler; saw; pliers",
        refusal="There is nothing to cut paper with here.",
        reason="You can cut paper with {a}.",
        do="cut paper; cut a ribbon; cut out a paper star; trim my beard; cut cloth; cut a"
        " thread; cut hair; make a paper snowflake; cut a photo out of the newspaper || cut"
        " out a shape from paper; trim my hair; cut a newspaper",
        thing="something to cut paper with; something to cut cloth with; something to cut a"
        " thread with; something to cut hair with || something to cut a ribbon with; a thing"
        " that cuts cloth",
        say="my hair is too long; the ribbon is too long; the thread has to be cut; I want to"
        " make a paper star || this sheet of paper has to be cut",
    ),
    need(
        "tool",
        serves="hammer; screwdriver; drill; pliers; saw",
        debatable="scissors; knife; tape measure; flashlight; tape; stapler; ruler; spray bottle;"
        " battery; pencil; marker; helmet; glove",
        refusal="There is no tool here.",
        reason="{A} can be used as a tool.",
        do="do some carpentry; work in the workshop; fill my toolbox; tidy up the tools || put"
        " the tools into the toolbox",
        thing="a tool; a hand tool; something from the toolbox; a tool for the workshop;"
        " something a carpenter uses || something for my toolbox; a tool for a carpenter",
        say="tools belong into the toolbox; I am a carpenter; I work in a workshop || a"
        " carpenter works with tools",
    ),
    need(
        "see in the dark",
        serves="flashlight",
        debatable="phone; candle; laptop; tablet; battery; camera",
        refusal="There is nothing to light up the dark here.",
        reason="{A} makes light in the dark.",
        do="see in the dark; light up the cellar; look under the dark bed; walk through the"
        " dark; find my way at night; look into a dark corner || light up a dark corner;"
        " find my way in the dark",
        thing="something to see in the dark; something that makes a beam of light; a light for"
        " the dark cellar; a light to carry || a light for a walk at night",
        say="it is dark in here; I cannot see in the cellar; it is so dark; it is night and I"
        " go for a walk || it is too dark to see anything; the cellar is very dark",
    ),
    need(
        "cosy light",
        serves="candle",
        debatable="flashlight; phone; battery; gift; cupcake; vase; wine bottle",
        refusal="There is nothing to light with a match here.",
        reason="{A} burns with a warm light.",
        do="have light without electricity; make the room cosy; light something with a match;"
        " have a romantic dinner; make a warm light; make the bath romantic || make a cosy"
        " light; have warm light without electricity",
        thing="something to light with a match; a light without electricity; a romantic light;"
        " something with a wick; a cosy light || a warm and romantic light",
        say="I have a match; the electricity is gone and I have a match; the evening should be"
        " cosy || the dinner should be cosy and romantic",
    ),
    need(
        "power",
        serves="battery",
        debatable="flashlight; laptop; phone; tablet; toaster",
        refusal="There is nothing to power a small device with here.",
        reason="{A} can power a small device.",
        do="bring the dead radio back to life; power a torch; power a radio; give a toy new"
        " energy; make the doorbell work again; replace an empty cell; power a smoke alarm"
        " || power the smoke alarm; give the radio new energy",
        thing="something to power a radio with; an energy source for a toy; new energy for a"
        " radio; something for the empty smoke alarm || a new energy source for my smoke"
        " alarm",
        say="the radio has no power; the smoke alarm is out of power; the toy has no more"
        " energy || my radio is out of power",
    ),
    need(
        "lock up",
        serves="padlock",
        debatable="keys",
        refusal="There is nothing to lock a bike with here.",
        reason="You can lock a bike or a gate with {a}.",
        do="close the gate so that nobody can open it; stop somebody from taking my bike; lock"
        " my bike; lock the gate; secure my locker; lock the shed; keep thieves away from my"
        " bike || secure the gate; lock my locker",
        thing="something to secure my bike; something to lock my bike with; something against"
        " thieves; something to secure the locker || something to lock the shed with",
        say="my locker is open for thieves; nobody shall take my bike; my bike could get"
        " stolen; thieves steal bikes here; the locker must be secured || somebody could"
        " steal my bike",
    ),
    need(
        "unlock",
        serves="keys",
        debatable="padlock",
        refusal="There is nothing to unlock a door with here.",
        reason="You can unlock a door with {a}.",
        do="unlock the door; open the front door; get into my house; start the engine; open"
        " the locked door; lock the front door; get into the flat || unlock my house; open a"
        " locked door; get into my flat",
        thing="something to unlock the door with; something to open the front door with;"
        " something to get through the locked door || something that opens the locked door",
        say="the door is locked; I cannot get into my house; I stand before a locked door; I am"
        " locked out || the front door is locked and I want to go in",
    ),
    need(
        "stick",
        serves="tape",
        debatable="stapler; tape measure",
        refusal="There is nothing to stick things together with here.",
        reason="You can stick paper together with {a}.",
        do="stick paper together; seal a parcel; fix a torn page; close a box for the post;"
        " wrap a parcel; stick a poster to the door; mend the torn paper || seal the box;"
        " mend a torn page; stick a poster to the wall",
        thing="something sticky; something to seal a parcel with; something that sticks;"
        " something to close a box with || something sticky for the torn page",
        say="the page is torn; the parcel has to be sealed; the poster falls off the door ||"
        " this torn paper has to be mended; my parcel is not sealed",
    ),
    need(
        "staple",
        serves="stapler",
        debatable="tape; hammer",
        refusal="There is nothing to staple paper with here.",
        reason="You can staple sheets of paper with {a}.",
        do="join two sheets of paper at the corner; fasten my papers at the corner; staple"
        " papers; fasten sheets together; keep loose sheets together; staple my homework;"
        " bind these pages || staple the sheets; fasten the loose pages",
        thing="an office tool to join sheets; something to staple with; something to fasten"
        " sheets with; something for loose sheets || something to keep the pages together",
        say="my report has loose sheets; these sheets must stay together; my homework has many"
        " loose sheets; the loose pages fly around || I have many loose pages",
    ),
    need(
        "write",
        serves="pencil; marker",
        debatable="laptop; phone; tablet; book; lipstick; ruler",
        refusal="There is nothing to write with here.",
        reason="You can write with {a}.",
        do="write a note; write a letter; draw a picture; draw a line; sign a form; note down"
        " a number; sketch a house; write a shopping list; fill in a form || write down a"
        " number; draw a house; sign a letter",
        thing="something to write with; something to draw with; a writing tool; something to sign"
        " the form with || something to sketch with; something to note it down",
        say="I want to make a shopping list; I must not forget this number; I like to draw;"
        " please note this down || I have to sign this form; I must note a number down",
    ),
    need(
        "straight line",
        serves="ruler",
        debatable="tape measure; pencil; marker; book",
        refusal="There is nothing to keep a line straight here.",
        reason="You can keep a line straight with {a}.",
        do="draw a square; underline the title; keep my line straight; underline a word"
        " neatly; draw a perfectly straight line; draw a triangle for maths || draw a neat"
        " straight line; keep the lines straight",
        thing="something to draw a square with; something with a straight edge; something for"
        " straight lines; something to underline words neatly || something that keeps a line"
        " straight",
        say="my square looks crooked; my line is not straight; the line must be perfectly"
        " straight; my lines are crooked || this line is crooked",
    ),
)
