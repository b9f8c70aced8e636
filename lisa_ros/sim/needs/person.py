"""Needs of the body: clothes, health, hygiene, weather."""

from __future__ import annotations

from lisa_ros.sim.needs.need import Need, need

PERSON: tuple[Need, ...] = (
    need(
        "sun in the eyes",
        serves="sunglasses",
        debatable="cap; umbrella; helmet",
        refusal="There is nothing to protect the eyes from the sun here.",
        reason="{A} can protect the eyes from the sun.",
        do="keep the glare out of my eyes; protect my eyes from the sun; look into the bright"
        " sun; shade my eyes; see well in bright sunlight; look cool at the beach || protect"
        " my eyes in the bright light; shade my eyes from the sun",
        thing="something to protect my eyes; something against the bright sun in my eyes;"
        " something dark to wear over my eyes || something for my eyes in the bright sun",
        say="the glare hurts my eyes; the sun blinds me; the sun is too bright for my eyes; the"
        " bright light hurts my eyes || my eyes hurt in the bright sun; the sun shines into"
        " my eyes",
    ),
    need(
        "rain",
        serves="umbrella",
        debatable="cap; helmet; shoe; glove",
        refusal="There is nothing to keep the rain off here.",
        reason="{A} can keep the rain off.",
        do="stay dry in the rain; walk through the rain; protect myself from the rain; go out"
        " in bad weather; keep the rain off me || keep dry in bad weather; go out in the"
        " rain",
        thing="something against the rain; something for a rainy day; something to keep me dry;"
        " protection from the rain || something for bad weather; something to stay dry",
        say="it is raining; it will rain soon; I do not want to get wet; it rains cats and"
        " dogs; the sky is full of rain clouds || dark clouds are in the sky and I want to"
        " stay dry; it rains and I must go out",
    ),
    need(
        "sun on the head",
        serves="cap",
        debatable="umbrella; sunglasses; helmet",
        refusal="There is nothing to wear against the sun on the head here.",
        reason="{A} can keep the sun off the head.",
        do="keep the sun off my bald head; protect my hair from the sun; keep the sun off my"
        " head; cover my hair; shade my face; cover my bald"
        " head || cover my head; keep the sun off my face",
        thing="something to wear on my head against the sun; something to cover my hair;"
        " something for my bald head || something to cover my head in the sun",
        say="my bald head burns in the sun; the sun burns on my head; my hair looks terrible"
        " and I must cover it; I have a bald head and the sun is hot || the hot sun shines"
        " on my head",
    ),
    need(
        "safe head",
        serves="helmet",
        debatable="cap",
        refusal="There is nothing to protect the head in an accident here.",
        reason="{A} can protect the head in an accident.",
        do="wear something safe on my motorbike; keep my head safe; protect my head; ride my"
        " bike safely; be safe on a motorbike; protect my head when"
        " I fall || ride a motorbike safely; be safe when I fall off my motorbike",
        thing="something to protect my head; something for a safe motorbike ride; something hard"
        " to wear on the head || something for a safe ride on the motorbike",
        say="my head must be safe on the motorbike; I ride my motorbike in heavy traffic;"
        " stones may fall on my head; safety first on the motorbike || I might fall off my"
        " motorbike and hurt my head",
    ),
    need(
        "hands",
        serves="glove",
        debatable="mug; teapot",
        refusal="There is nothing to keep the hands warm here.",
        reason="{A} can keep a hand warm and safe.",
        do="keep my hand warm; protect my hand; keep my fingers warm; make a snowball; protect"
        " my fingers in the garden; touch something hot || warm my cold fingers; protect my"
        " hand in the garden",
        thing="something for my cold hand; something to keep my fingers warm; something to"
        " protect my hand || something to protect my fingers",
        say="my hands are cold; my fingers are freezing; it is winter and my fingers are cold;"
        " I could hurt my hand in the garden || my fingers are so cold; my hands are"
        " freezing",
    ),
    need(
        "feet",
        serves="shoe",
        debatable="",
        refusal="There is nothing to wear on the feet here.",
        reason="{A} can protect a foot.",
        do="run without hurting my foot; protect my foot; walk over sharp stones; put"
        " something on my foot; cover my bare foot; keep my foot dry || walk over stones"
        " with my bare foot; keep my foot clean",
        thing="something to wear on my foot; something for my foot; something to put on my foot;"
        " something with a sole || something for my bare foot; something with a sole to walk"
        " in",
        say="my foot is bare; sharp stones hurt my foot; my foot is cold || my bare foot is"
        " cold; the stones hurt my bare foot",
    ),
    need(
        "hair",
        serves="comb; hairbrush",
        refusal="There is nothing to tidy the hair with here.",
        reason="You can tidy your hair with {a}.",
        do="tidy my hair; untangle my hair; tidy up my messy hair; make my hair smooth; get"
        " the knots out of my hair || get my hair in order; untangle the knots in my hair",
        thing="something to tidy my hair with; something for messy hair; something to smooth my"
        " hair; something to get the knots out of my hair || something to untangle my hair"
        " with; something for the knots in my hair",
        say="my hair is messy; my hair is full of knots; I look messy after sleeping; the wind"
        " made a mess of my hair || the knots in my hair hurt; my hair is a mess",
    ),
    need(
        "wash hands",
        serves="soap",
        debatable="sponge; spray bottle; toilet paper",
        refusal="There is nothing to wash the hands with here.",
        reason="You can wash your hands with {a}.",
        do="wash my hands; wash myself; get clean hands before dinner; kill germs on my hands;"
        " wash the dirt off my fingers || wash my dirty fingers; get my hands clean",
        thing="something to wash my hands with; something that makes foam; something for dirty"
        " hands; something against germs || something to get clean hands",
        say="my hands are dirty; my fingers are sticky; I touched dirt with my hands; dinner is"
        " ready and my hands are dirty || my dirty hands are full of germs",
    ),
    need(
        "toilet",
        serves="toilet paper",
        debatable="sponge; soap",
        refusal="There is nothing to wipe with in the bathroom here.",
        reason="You can use {a} in the bathroom.",
        do="use the toilet; wipe after the toilet; refill the holder in the bathroom; blow my"
        " nose; wipe my nose || wipe myself in the bathroom; blow my running nose",
        thing="something for the toilet; something for the holder in the bathroom; something to"
        " wipe my nose with; soft paper for the bathroom || something to blow my nose with;"
        " soft paper to wipe with",
        say="I have to go to the toilet; my nose is running; the holder in the bathroom is"
        " empty || I must go to the bathroom and wipe; my nose runs all day",
    ),
    need(
        "headache",
        serves="medicine bottle",
        debatable="thermometer; lemon; orange; milk",
        refusal="There is nothing to treat an illness with here.",
        reason="{A} can help when you are ill.",
        do="cure my headache; treat my illness; fight the pain; get rid of my headache; help a"
        " sick person get well; follow the advice of my doctor || fight my headache; cure my"
        " pain; treat a sick person",
        thing="something for my headache; something against pain; something from the pharmacy;"
        " something for a sick person || something against a headache; something from my"
        " doctor",
        say="I have a headache; my head hurts; I feel ill; I am sick; my back hurts so much; I"
        " have a terrible toothache || I am ill and have pain; my head hurts so much",
    ),
    need(
        "temperature",
        serves="thermometer",
        debatable="medicine bottle; watch; phone",
        refusal="There is nothing to measure a temperature with here.",
        reason="You can measure the temperature with {a}.",
        do="check for a fever; measure the temperature; find out whether I have a fever; see"
        " how warm the room is; check my temperature; find out if the baby has a fever; find"
        " out how cold it is in here || measure whether I have a fever; check how warm the"
        " baby is; see how cold the room is",
        thing="something to check for a fever; something to measure the temperature with;"
        " something that shows the degrees || something to find out if I have a fever;"
        " something that shows how warm it is",
        say="is my temperature too high; I think that I have a fever; the baby feels hot; how"
        " many degrees is it; is it too cold in this room; how warm is it in here || the"
        " baby may have a fever; I wonder if I have a fever; how warm is this room",
    ),
    need(
        "make-up",
        serves="lipstick",
        debatable="marker; comb; hairbrush",
        refusal="There is no make-up here.",
        reason="You can paint your lips with {a}.",
        do="put on make-up; paint my lips; make my lips red; look pretty with make-up; put"
        " some colour on my mouth || colour my lips; put make-up on my lips",
        thing="some make-up; something for my lips; something to paint my lips with; a beauty"
        " product || something to colour my lips; some make-up for my date",
        say="my lips look pale; I have a date tonight and need make-up; my lips need colour ||"
        " my lips are pale and need some colour",
    ),
)
