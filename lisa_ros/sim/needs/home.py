"""Needs around electronics, cleaning, play and the living room."""

from __future__ import annotations

from lisa_ros.sim.needs.need import Need, need

HOME: tuple[Need, ...] = (
    need(
        "tv channel",
        serves="tv remote",
        debatable="phone; laptop; tablet; game controller",
        refusal="There is nothing to control the TV with here.",
        reason="You can control the TV with {a}.",
        do="change the TV channel; switch the channel; turn on the TV; turn up the volume of"
        " the TV; change the channel; switch off the television; watch another programme;"
        " turn off the TV; mute the TV; turn down the TV || put on another TV channel;"
        " switch the TV to the news; turn the television off",
        thing="something to control the TV; something to change the channel; something to switch"
        " the TV on with; something for the TV || something to turn the TV off with;"
        " something to mute the television",
        say="I do not like this TV show; this film on TV is boring; the TV is too loud; I want"
        " to watch the news on another channel; the television is still on || this TV"
        " programme is boring; I want to see another film on TV",
    ),
    need(
        "video game",
        serves="game controller",
        debatable="laptop; tablet; phone; tv remote; dice; puzzle cube",
        refusal="There is nothing to play video games with here.",
        reason="You can play video games with {a}.",
        do="play a video game; play on the console; start a racing game on the console; play"
        " video games; steer a game figure; beat my friend in a video game || play a racing"
        " game on the console; win a video game",
        thing="something to play video games with; something for the game console; something for"
        " gaming || something to play on the console with",
        say="the game console is on; I love video games; my friend wants a race on the console"
        " || my friend loves games on the console",
    ),
    need(
        "photo",
        serves="camera",
        debatable="phone; tablet; laptop",
        refusal="There is nothing to take photos with here.",
        reason="You can take photos with {a}.",
        do="take a photo; take a picture; make a family photo; photograph the sunset; take"
        " holiday pictures; film the birthday; take a portrait || photograph my family; take"
        " pictures of the sunset",
        thing="something to take photos with; something for holiday pictures; something for a"
        " photographer || something to take pictures with",
        say="what a beautiful sunset to photograph; I want to remember this moment in a"
        " picture; the family stands ready for the photo || I am a photographer; smile for"
        " the picture",
    ),
    need(
        "music",
        serves="headphones",
        debatable="phone; laptop; tablet; tv remote",
        refusal="There is nothing to listen to music with here.",
        reason="You can listen to music with {a}.",
        do="listen to music; listen to a song without waking the others; hear my favourite"
        " song; listen to a podcast; listen to music in the bus || listen to my favourite"
        " music; hear a podcast in the bus",
        thing="something to listen to music with; something for my ears; something for music"
        " lovers; something to put over my ears || something to hear a song with",
        say="I love music; it is too loud here and I want to hear my song; my favourite song"
        " should not wake the others || I love this song and want to hear it",
    ),
    need(
        "call",
        serves="phone",
        debatable="tablet; laptop; watch; headphones",
        refusal="There is nothing to call somebody with here.",
        reason="You can call somebody with {a}.",
        do="call my mother; call somebody; send a text message; ring my friend; call the"
        " police; dial a number; make a call; call a taxi || call my friend; send my mother"
        " a message; dial the number of the police",
        thing="something to call my mother with; something to dial a number with; something to"
        " send a text message with || something to call a taxi with",
        say="I must talk to my mother far away; we need a taxi; I have to speak to the doctor;"
        " somebody has to call the police || I have to talk to my friend far away; I need a"
        " taxi",
    ),
    need(
        "e-mail",
        serves="laptop",
        debatable="phone; tablet",
        refusal="There is nothing to write e-mails with here.",
        reason="You can write e-mails with {a}.",
        do="write an e-mail; write a computer program; type a long report; surf the internet;"
        " work on a big screen; type a text; do my online banking; answer e-mails || write a"
        " program; type a long e-mail; work on my report",
        thing="something to write e-mails with; something with a keyboard; something to surf the"
        " internet with; something to type on || something with a keyboard to type on",
        say="I must answer my e-mails; I work online today; my report must be typed; I am a"
        " programmer || there are many e-mails to answer",
    ),
    need(
        "read",
        serves="book",
        debatable="tablet; laptop; phone",
        refusal="There is nothing to read here.",
        reason="You can read {a}.",
        do="read a story; read something; read to the children; learn something new by"
        " reading; read before I sleep; turn pages; read a bedtime story || read something"
        " before I sleep; read the children a bedtime story",
        thing="something to read; something with pages; a story for the evening; something from"
        " the library || a story with many pages; something to read at night",
        say="I like stories; the children want a bedtime story; I come from the library; I want"
        " to read || the children like to hear a story",
    ),
    need(
        "time",
        serves="watch; clock",
        debatable="phone; laptop; tablet; thermometer",
        refusal="There is nothing to tell the time here.",
        reason="{A} can tell the time.",
        do="tell the time; know what time it is; check the time; find out how late it is; see"
        " whether I am late || see what time it is; find out the time",
        thing="something to tell the time; something that shows the hour; something that shows"
        " how late it is || something that shows what time it is",
        say="what time is it; I must not be late; what is the time now; how late is it; what is"
        " the time; am I late for the meeting || how late is it now; I do not know what time"
        " it is",
    ),
    need(
        "spill",
        serves="sponge; toilet paper",
        debatable="spray bottle; soap; glove",
        refusal="There is nothing to wipe up a spill with here.",
        reason="You can wipe up a spill with {a}.",
        do="clean up a spill; wipe the wet table; wipe up the water; dry the wet floor; soak"
        " up the juice; wipe up some coffee || wipe up a spill; dry the wet table",
        thing="something to wipe the table with; something that soaks up water; something to"
        " clean up a spill with || something to dry the table with",
        say="I spilled my coffee; the table is wet; there is water on the floor; the juice ran"
        " over || I spilled my juice on the floor; the floor is wet",
    ),
    need(
        "wash up",
        serves="sponge",
        debatable="soap; spray bottle; toilet paper; glove",
        refusal="There is nothing to wash the dishes with here.",
        reason="You can wash the dishes with {a}.",
        do="wash the dishes; scrub a pan; wash up; clean the dirty dishes; wash the car; scrub"
        " the bath || scrub the dirty pan; wash the dirty dishes",
        thing="something to wash the dishes with; something soft to scrub with; something to"
        " scrub a pan with || something to clean the dirty dishes with",
        say="the dishes are dirty; the pan is dirty; there are dirty dishes in the sink || the"
        " sink is full of dirty dishes",
    ),
    need(
        "windows",
        serves="spray bottle",
        debatable="sponge; toilet paper; soap",
        refusal="There is nothing to clean a window with here.",
        reason="You can clean a window with {a}.",
        do="spray the window; clean the window; clean the mirror; clean dirty window panes;"
        " spray water on the leaves || clean the dirty window; spray the mirror",
        thing="something to spray the window with; something for dirty window panes; something"
        " that sprays; something with a spray trigger || something to clean a mirror with",
        say="the window is dirty; the mirror is full of spots; I cannot see through the dirty"
        " window || the window panes are full of spots",
    ),
    need(
        "present",
        serves="gift",
        debatable="teddy bear; toy car; candle; cupcake; vase; book; wine bottle; cactus; puzzle"
        " cube; headphones; lipstick; soccer ball; tennis ball; game controller; dice",
        refusal="There is nothing to give away as a birthday surprise here.",
        reason="{A} can make somebody happy on a birthday.",
        do="hand over a birthday surprise; make a birthday surprise; surprise my friend on her"
        " birthday; give something to the birthday child; unwrap something; bring something"
        " to a birthday party || surprise the birthday child; bring something to my friend's"
        " birthday",
        thing="something for the birthday child; something wrapped; a birthday surprise;"
        " something to unwrap || a surprise for my friend; something for her birthday",
        say="what shall I bring to her birthday; the birthday party begins; it is her birthday;"
        " my friend has birthday today; I am invited to a birthday party || it is my"
        " friend's birthday today",
    ),
    need(
        "child",
        serves="teddy bear; toy car",
        debatable="puzzle cube; soccer ball; tennis ball; dice; game controller; book; pencil;"
        " marker; gift; tablet; phone; laptop",
        refusal="There is no toy for a small child here.",
        reason="A small child can play with {a}.",
        do="make a small child smile; play with my little boy; play with a small child; keep"
        " the toddler busy; make a little boy happy; fill the toy box || play with the"
        " toddler; keep a small child busy",
        thing="a toy for the nursery; a toy for a small child; something for the toy box; a toy"
        " for a little boy; something for the toddler || a toy for the toddler",
        say="we need a toy for the little boy; the nursery needs a toy; the toddler is bored;"
        " the small child wants to play; my little boy wants a toy || a small child is"
        " bored; the toddler wants to play",
    ),
    need(
        "cuddle",
        serves="teddy bear",
        debatable="toy car; gift; glove; toilet paper; book; sponge",
        refusal="There is nothing to cuddle here.",
        reason="You can cuddle {a}.",
        do="hold something fluffy; sleep with something soft in my arms; comfort a crying"
        " child; help the baby fall asleep; cuddle something soft; calm the crying baby ||"
        " comfort the baby; cuddle with something soft",
        thing="something fluffy to cuddle; something fluffy for the bed of my child; something"
        " soft to cuddle; something to comfort a crying child; a soft friend for the night"
        " || something soft for a crying child",
        say="my child wants to cuddle; the baby is crying; the little girl cannot fall asleep"
        " alone; the baby wants something to cuddle || the little child is crying; the girl"
        " cannot fall asleep",
    ),
    need(
        "ball",
        serves="soccer ball; tennis ball",
        debatable="orange; apple; lemon; teddy bear",
        refusal="There is no ball here.",
        reason="You can play ball with {a}.",
        do="play ball; throw a ball to the dog; bounce a ball; play catch; roll a ball ||"
        " throw the ball; roll the ball to the dog",
        thing="a ball; a round thing to throw; something for the dog to run after; something that"
        " bounces || something that bounces for the dog",
        say="the dog wants to play catch; we want a game with a ball; I want to play ball ||"
        " the dog likes to run after a ball",
    ),
    need(
        "kick",
        serves="soccer ball",
        debatable="tennis ball; shoe",
        refusal="There is nothing to kick in a match here.",
        reason="You can kick {a}.",
        do="practise a penalty; kick off the match; shoot a goal; play a match on the soccer"
        " field; kick something across the field; train my team to shoot goals || kick a"
        " goal; shoot at the goal",
        thing="something for a penalty shot; something to kick; something to score a goal with;"
        " something for the goal keeper || something to shoot a goal with",
        say="let us practise penalty shots; it is time for the kick off; the goal keeper is"
        " ready; our team has eleven players; I want to score a goal || our team wants to"
        " score a goal",
    ),
    need(
        "racket",
        serves="tennis ball",
        debatable="soccer ball",
        refusal="There is nothing to hit with a racket here.",
        reason="You can hit {a} with a racket.",
        do="play a match of tennis; hit a serve; play tennis; use my racket; practise my"
        " serve; hit something over the net || practise with my racket; hit something with"
        " the racket",
        thing="something a tennis player hits; something to hit with my racket; something for the"
        " tennis court; something for my racket || something to hit over the net",
        say="I am a tennis player; my racket needs something to hit; I have a racket; the"
        " tennis court is free; I want to be a tennis champion || I stand on the tennis"
        " court with my racket",
    ),
    need(
        "puzzle",
        serves="puzzle cube",
        debatable="dice; game controller; book; phone; tablet; laptop",
        refusal="There is no puzzle to solve here.",
        reason="You can solve {a}.",
        do="turn and twist the sides to solve it; work on a tricky riddle with colours; solve"
        " a puzzle; train my brain; turn the sides until the colours match; solve a tricky"
        " puzzle with my hands || train my brain with a puzzle; solve something tricky",
        thing="a puzzle; something with turning sides; something tricky to solve; something"
        " tricky for my brain || something tricky for clever people",
        say="I want to solve something tricky; I like to solve puzzles; my brain wants to work;"
        " the colours must match on each side || I am clever and like to solve tricky things",
    ),
    need(
        "board game",
        serves="dice",
        debatable="puzzle cube; gift",
        refusal="There is nothing to roll in a board game here.",
        reason="You can roll {a} in a board game.",
        do="see how many fields I may move; start the board game; play a board game; roll a"
        " number; throw a six; get a random number; decide by chance || roll a six; play a"
        " game of chance",
        thing="something to throw a six with; something to roll in a board game; something for a"
        " game of chance; something with dots from one to six || something with dots for a"
        " board game",
        say="how many fields may I move; I need a six to win; it is my turn in the board game;"
        " let chance decide || it is your turn to roll a number",
    ),
    need(
        "plant",
        serves="cactus",
        debatable="vase; apple; banana; orange; lemon",
        refusal="There is nothing that is alive here.",
        reason="{A} lives and grows.",
        do="water something that grows; water the green leaves; look after something alive;"
        " bring some green into the room || look after something that grows",
        thing="something alive; something that grows in a pot; something from the desert;"
        " something alive with spikes; something to water || a living thing; something green"
        " that grows",
        say="what here is alive; the leaves need water; something alive here has spikes; which"
        " thing is alive || what is alive and has spikes",
    ),
    need(
        "flowers",
        serves="vase",
        debatable="glass; mug; wine bottle; can; teapot; spray bottle; milk; bowl; cactus",
        refusal="There is nothing to put flowers in here.",
        reason="You can put flowers in {a}.",
        do="make a bouquet look nice; put a bouquet on the table; put the flowers into water;"
        " arrange the roses; put my roses on the table; keep the flowers fresh || put the"
        " roses into water; arrange the flowers",
        thing="something for a bouquet; something to fill with water for the roses; something to"
        " put flowers in; something for my roses; something to keep flowers fresh ||"
        " something to put the roses in",
        say="I got a bouquet; I bought fresh flowers; the roses need water; these flowers must"
        " not dry || I bought roses and they need water",
    ),
    need(
        "wheels",
        serves="toy car",
        debatable="",
        refusal="There is nothing with wheels here.",
        reason="{A} has wheels.",
        do="push something with wheels across the floor; let something with wheels race; roll"
        " something on wheels; race on the floor with something on wheels || race with"
        " something on wheels",
        thing="something with wheels; a thing on four wheels; something that rolls on wheels;"
        " something that looks like a vehicle || a small vehicle with wheels",
        say="I am looking for wheels; show me a thing that has wheels; what here has wheels;"
        " one thing here has four wheels; which thing has wheels || which of these things"
        " rolls on wheels",
    ),
)
