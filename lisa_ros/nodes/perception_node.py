"""The perception node: instructions and camera images in, answers out.

Callbacks only pass things on; one worker thread owns the model, so that the node stays responsive
while it answers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import rclpy
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from lisa_ros.action import Ask
from lisa_ros.model.conversation import apply_template, clean_explanation
from lisa_ros.model.errors import InstructionError, LisaError
from lisa_ros.msg import Answer as AnswerMessage
from lisa_ros.nodes.answer_messages import (
    final_message,
    model_info_message,
    object_messages,
    provisional_message,
)
from lisa_ros.nodes.diagnostics import Diagnostics
from lisa_ros.nodes.frames import Frame, FrameBuffer
from lisa_ros.nodes.lifting import Lifter
from lisa_ros.nodes.outputs import Outputs
from lisa_ros.nodes.parameters import NodeParameters
from lisa_ros.nodes.questions import Outcome, Progress, Question, QuestionDesk, Source
from lisa_ros.nodes.subscriptions import CameraSubscriptions
from lisa_ros.nodes.transforms import Transforms
from lisa_ros.nodes.worker import Worker, leave_a_core
from lisa_ros.perception import Segmenter, Status
from lisa_ros.srv import Ask as AskService

# Threads of the executor: for the camera's topics, diagnostics, and questions that wait.
_THREADS = 8
_PATIENCE = 4.0  # seconds for the model to stop at the end; `ros2 launch` kills after 5
_LAST_RESULTS = 0.5  # seconds to send them at the end

# Seconds for which a goal's result is kept for who asks late.
_RESULT_TIMEOUT = 10
_NO_LIMIT = 900  # where questions have none; rclpy's own on Humble
# Words come faster than a busy client listens; they must not push out the one that has an object.
_FEEDBACK_QOS = QoSProfile(depth=100)

_CANCEL_PATIENCE = 1.0  # seconds
# What to do about a node that is not active, by its state.
_INACTIVE = {
    "LOADING": "wait until its model is loaded",
    "INACTIVE": "activate it",
    "DEACTIVATING": "wait, and activate it",
    "SHUTTING DOWN": "start it again",
    "FINALIZED": "start it again",
}
_GOAL_REACHED = (
    AnswerMessage.FOUND,
    AnswerMessage.NOT_FOUND,
    AnswerMessage.TEXT_ONLY,
    AnswerMessage.TRUNCATED,
)


class PerceptionNode(LifecycleNodeMixin, Node):
    """`configure` loads the model, `activate` answers, `deactivate` idles, `cleanup` unloads."""

    def __init__(self, **options: Any) -> None:
        """Options are those of `rclpy.node.Node`."""
        Node.__init__(self, "lisa", **options)
        # Not LifecycleNode, which tells its state and parameters only after the model is loaded.
        LifecycleNodeMixin.__init__(
            self, enable_communication_interface=True, callback_group=ReentrantCallbackGroup()
        )
        self._settings = NodeParameters(self)
        self._question_group = ReentrantCallbackGroup()
        timer_group = MutuallyExclusiveCallbackGroup()
        self._frames = FrameBuffer(self._settings["sync_slop"])
        self._desk = QuestionDesk(self._settings["busy_policy"])
        self._transforms = Transforms(self)
        self._worker = Worker(
            self._desk,
            self._frames,
            settings=self._settings.answer_settings,
            lifter=Lifter(
                self._transforms.look_up,
                resolve_topic=self.resolve_topic_name,
                warn=self.get_logger().warning,
            ),
            now_ns=lambda: self.get_clock().now().nanoseconds,
            idle=self._repeat_instruction,
            new_follow_question=self._follow_question,
        )
        self._camera: CameraSubscriptions | None = None
        self._repeated: Question | None = None
        self._outputs = Outputs(self, self._question_group)
        self._diagnostics = Diagnostics(self)
        self._goals: dict[bytes, Question] = {}  # by goal id, while they are open
        self.create_subscription(
            String,
            "~/instruction",
            self._on_instruction,
            10,
            callback_group=MutuallyExclusiveCallbackGroup(),  # in their order: the last one counts
        )
        self.create_service(
            AskService, "~/ask_once", self._on_service, callback_group=self._question_group
        )
        self.create_service(
            Trigger,
            "~/stop_following",
            self._on_stop_following,
            callback_group=self._question_group,
        )
        self._action = ActionServer(
            self,
            Ask,
            "~/ask",
            execute_callback=self._on_goal,
            cancel_callback=self._on_cancel,
            callback_group=self._question_group,
            feedback_pub_qos_profile=_FEEDBACK_QOS,
            # Humble, and Jazzy before rcl 9.2.7, count it from the acceptance of the goal.
            result_timeout=_RESULT_TIMEOUT + round(self._settings["timeout"] or _NO_LIMIT),
        )
        # By a clock that runs even where /clock does not.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._every_second, callback_group=timer_group, clock=steady)
        self.failed = threading.Event()
        if self._settings["autostart"]:
            group = MutuallyExclusiveCallbackGroup()
            self._start_timer = self.create_timer(
                0.0, self._autostart, callback_group=group, clock=steady
            )

    # --- lifecycle ---

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model on the worker's thread."""
        self._diagnostics.state = "LOADING"
        started = time.monotonic()
        self.get_logger().info(
            f"loading {self._settings['model'] or 'the small model of this package'} ..."
        )
        try:
            self._worker.load(self._make_segmenter)
        except Exception as error:
            known = isinstance(error, (LisaError, OSError))
            reason = str(error) if known else traceback.format_exc()
            self.get_logger().error(f"the model cannot be loaded: {reason}")
            self._diagnostics.state = "FAILED"
            self._diagnostics.last_error = str(error)
            return TransitionCallbackReturn.FAILURE
        segmenter = self._worker.segmenter
        assert segmenter is not None  # load has returned
        seconds = time.monotonic() - started
        info = model_info_message(segmenter, seconds)
        info.stamp = self.get_clock().now().to_msg()
        self._outputs.publish_model_info(info)
        self._diagnostics.state = "INACTIVE"
        self.get_logger().info(
            f"{info.model} is ready after {seconds:.1f} s: {info.precision} on {info.device}, "
            f"{info.memory / 2**30:.1f} GiB"
        )
        return TransitionCallbackReturn.SUCCESS

    def _make_segmenter(self) -> Segmenter:
        segmenter = Segmenter.from_pretrained(
            self._settings["model"] or None,
            precision=self._settings["precision"] or None,
            device=self._settings["device"] or None,
            vision_tower=self._settings["vision_tower"] or None,
            sam_config=self._settings["sam_config"] or None,
            conversation=self._settings["conversation"] or None,
        )
        if segmenter.model.device.type == "cpu":
            leave_a_core()
        segmenter.warm_up(self._settings["max_new_tokens"])
        return segmenter

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the camera and answer."""
        self._camera = CameraSubscriptions(
            self,
            self._frames,
            image_transport=self._settings["image_transport"],
            reliability=self._settings["reliability"],
            use_depth=self._settings["use_depth"],
        )
        self._worker.active = True
        self._diagnostics.state = "ACTIVE"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop answering; open questions end as NOT_ACTIVE."""
        self._diagnostics.state = "DEACTIVATING"
        self._go_idle("the node was deactivated; activate it")
        self._diagnostics.state = "INACTIVE"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model's memory."""
        self._worker.unload()
        self._diagnostics.state = "UNCONFIGURED"
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        self._diagnostics.state = "SHUTTING DOWN"
        self._go_idle("the node is shutting down")
        self._worker.unload()
        self._diagnostics.state = "FINALIZED"
        return TransitionCallbackReturn.SUCCESS

    def _go_idle(self, reason: str) -> None:
        self._repeated = None
        self._worker.pause(Outcome(Status.NOT_ACTIVE, reason))
        if self._camera is not None:
            self._camera.destroy()
            self._camera = None
        self._frames.clear()

    def _autostart(self) -> None:
        """Configure and activate without a lifecycle manager; a failure ends the process."""
        self._start_timer.cancel()
        started = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if not started or self.trigger_activate() != TransitionCallbackReturn.SUCCESS:
            self.failed.set()

    @property
    def has_goals(self) -> bool:
        """Whether a goal of the action is open."""
        return bool(self._goals)

    def end_questions(self, timeout: float) -> bool:
        """End all questions and the worker; False if it is still busy after `timeout` seconds."""
        self._diagnostics.state = "SHUTTING DOWN"
        return self._worker.shutdown(timeout)

    def destroy_node(self) -> None:
        """End the worker, and what else rclpy does not destroy."""
        self._worker.shutdown()
        self._action.destroy()
        super().destroy_node()

    # --- questions in ---

    def _on_instruction(self, message: String) -> None:
        question = self._question(Source.TOPIC, message.data)
        question.keep_context = self._settings["keep_context"]
        question.follow = self._settings["mode"] == "follow"
        # Taken away first: the old one must not be asked again behind the new one.
        before, self._repeated = self._repeated, None
        if not self._submit(question):
            self._repeated = before
        # A follow-up is about its conversation's image, and would be another question later.
        elif self._settings["mode"] == "continuous" and not question.keep_context:
            self._repeated = question

    def _on_service(
        self, request: AskService.Request, response: AskService.Response
    ) -> AskService.Response:
        question = self._question(Source.SERVICE, request.instruction, request)
        response.answer = self._ask_and_wait(question, request)
        return response

    def _on_goal(self, goal: ServerGoalHandle) -> Ask.Result:
        question = self._question(Source.ACTION, goal.request.instruction, goal.request)
        question.follow = goal.request.follow
        question.on_progress = lambda q, progress: self._on_action_progress(goal, q, progress)
        key = bytes(goal.goal_id.uuid)
        self._goals[key] = question
        try:
            answer = self._ask_and_wait(question, goal.request)
        finally:
            del self._goals[key]
            # rclpy keeps the goal as long as its result, and images are most of both.
            goal.request.image, goal.request.depth = Image(), Image()
        if answer.status == AnswerMessage.CANCELLED:
            # rclpy tells the goal that it is cancelled only after `_on_cancel`.
            patience = time.monotonic() + _CANCEL_PATIENCE
            while not goal.is_cancel_requested and time.monotonic() < patience:
                time.sleep(0.001)
        if answer.status == AnswerMessage.CANCELLED and goal.is_cancel_requested:
            goal.canceled()
        elif answer.status in _GOAL_REACHED:
            goal.succeed()
        else:
            goal.abort()
        return Ask.Result(answer=answer)

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        question = self._goals.get(bytes(goal.goal_id.uuid))
        if question is not None:
            question.stop(Status.CANCELLED)
        return CancelResponse.ACCEPT

    def _question(
        self,
        source: Source,
        instruction: str,
        request: AskService.Request | Ask.Goal | None = None,
    ) -> Question:
        question = Question(
            self._desk.next_id(),
            source,
            instruction,
            timeout=self._settings["timeout"] or None,
            on_progress=self._on_progress,
            on_end=self._end,
        )
        if request is not None:
            question.template = request.prompt_template
            question.require_3d = request.require_3d
            question.keep_context = request.keep_context
            question.frame = _own_frame(request)
            not_before = request.not_before  # rclpy's Time refuses negative ones
            question.not_before = not_before.sec * 10**9 + not_before.nanosec
            seconds = Duration.from_msg(request.timeout).nanoseconds / 1e9
            question.timeout = seconds or question.timeout
        return question

    def _submit(self, question: Question) -> bool:
        """Hand a question to the worker; False if it has ended at once."""
        if not self._worker.active:
            state = self._diagnostics.state
            mend = _INACTIVE.get(state, "configure and activate it")
            message = f"expected the state ACTIVE, the node is {state}; {mend}"
            question.end(Outcome(Status.NOT_ACTIVE, message))
            return False
        if question.timeout is not None and question.timeout < 0:
            message = f"expected a timeout of 0 s (the node's) or more, got {question.timeout:g} s"
            question.end(Outcome(Status.REJECTED, message))
            return False
        try:
            # Here already, so that a question that cannot be asked interrupts nobody.
            apply_template(question.instruction, question.template or "raw")
        except InstructionError as error:
            question.end(Outcome(Status.REJECTED, str(error)))
            return False
        self._desk.busy_policy = self._settings["busy_policy"]
        question.on_progress(question, Progress("waiting"))
        return self._desk.submit(question)

    def _ask_and_wait(
        self, question: Question, request: AskService.Request | Ask.Goal
    ) -> AnswerMessage:
        messages: list[AnswerMessage] = []
        question.on_end = lambda q, outcome: messages.append(self._end(q, outcome))
        if question.frame is None and (_has_depth(request) or _has_info(request)):
            message = (
                "expected an image with the depth or camera_info of the request, got none; send "
                "the image that they belong to, or leave all three empty for the camera's"
            )
            question.end(Outcome(Status.REJECTED, message))
        else:
            self._submit(question)
        question.wait()
        return messages[0]

    def _repeat_instruction(self) -> None:
        """Mode continuous: ask the last instruction again, `rate` times a second."""
        if self._settings["mode"] != "continuous":
            self._repeated = None
        last = self._repeated
        if last is None or last.age < 1 / self._settings["rate"]:
            return
        question = self._question(Source.TOPIC, last.instruction)
        if self._worker.active and self._desk.submit_if_free(question) and self._repeated is last:
            self._repeated = question

    def _follow_question(self, followed: Question) -> Question | None:
        if followed.source is Source.TOPIC and self._settings["mode"] != "follow":
            return None
        question = self._question(Source.FOLLOW, followed.instruction)
        question.template = followed.template
        question.require_3d = followed.require_3d
        return question

    def _on_stop_following(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        followed = self._worker.stop_following()
        response.success = followed is not None
        response.message = (
            "nothing is followed"
            if followed is None
            else f"the object of question {followed.id} is followed no more: {followed.instruction}"
        )
        return response

    # --- answers out ---

    def _on_progress(self, question: Question, progress: Progress) -> None:
        """A new object goes out at once, as a provisional answer."""
        if not progress.is_new_object or progress.frame is None:
            return
        is_early = self._settings["publish"] == "early"
        if not (is_early or self._outputs.has_listener):
            return
        message = provisional_message(question, progress, self._worker.segmenter)
        self._outputs.publish_provisional(message)
        if is_early:
            self._outputs.publish_early_mask(message, progress.objects)

    def _on_action_progress(
        self, goal: ServerGoalHandle, question: Question, progress: Progress
    ) -> None:
        if goal.is_cancel_requested:
            question.stop(Status.CANCELLED)  # it came before the goal's question was known
        self._on_progress(question, progress)
        feedback = Ask.Feedback(
            question_id=question.id,
            stage=progress.stage,
            text=clean_explanation(progress.text),
        )
        if progress.is_new_object and progress.frame is not None:
            header = progress.frame.image.header
            feedback.objects = object_messages(question, progress.objects, header)[-1:]
        goal.publish_feedback(feedback)  # type: ignore[arg-type]  # rclpy's annotation is wrong

    def _end(self, question: Question, outcome: Outcome) -> AnswerMessage:
        message = final_message(question, outcome, self._worker.segmenter)
        self._diagnostics.count(outcome)
        text = f"question {question.id} ({question.source.name.lower()}): {outcome.status.name}"
        if outcome.status is Status.ERROR:
            self.get_logger().error(f"{text}: {outcome.message}")
        elif message.status in _GOAL_REACHED:
            self.get_logger().info(f"{text}, {message.total_time:.2f} s: {message.explanation}")
        else:
            self.get_logger().warning(f"{text}: {outcome.message}")
        self._outputs.publish_final(message, outcome)
        return message

    def _every_second(self) -> None:
        self._frames.sync_slop = self._settings["sync_slop"]
        if self._settings["target_frame"]:
            self._transforms.start()  # the first question needs transforms older than itself
        camera = self._camera  # deactivation takes it away
        problems = []
        if camera is not None:
            camera.check()
            problems = camera.problems()
        self._diagnostics.publish(self._worker.segmenter, self._frames.counts, problems)


def _own_frame(request: AskService.Request | Ask.Goal) -> Frame | None:
    """The images that a request brought along; None where it wants the camera's."""
    if request.image.width == 0 and not request.image.data:
        return None
    return Frame(
        request.image,
        request.depth if _has_depth(request) else None,
        request.camera_info if _has_info(request) else None,
        is_of_request=True,
    )


def _has_depth(request: AskService.Request | Ask.Goal) -> bool:
    return bool(request.depth.width > 0 or request.depth.data)


def _has_info(request: AskService.Request | Ask.Goal) -> bool:
    info = request.camera_info
    return bool(info.width > 0 or any(info.k) or any(info.p))


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop; 1 if its model cannot be loaded."""
    # rclpy's handlers end the context at once, and open questions could not be answered any more.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told_to_stop.set())
    try:
        node = PerceptionNode()
    except ParameterException as error:
        rclpy.logging.get_logger("lisa").error(f"cannot start: {error}")
        return 1
    executor = MultiThreadedExecutor(num_threads=_THREADS)
    executor.add_node(node)

    def spin_while(is_on: Callable[[], bool]) -> None:
        while is_on():
            try:
                executor.spin_once(timeout_sec=0.1)
            except Exception:  # of one callback; the next ones may fare better
                node.get_logger().error(traceback.format_exc())

    spin_while(lambda: not (told_to_stop.is_set() or node.failed.is_set()))
    status = int(node.failed.is_set())
    with ThreadPoolExecutor(1) as pool:
        has_goals = node.has_goals
        ended = pool.submit(node.end_questions, _PATIENCE)
        spin_while(lambda: not ended.done())
    if not ended.result():
        os._exit(status)  # the model is being loaded: its thread can neither be stopped nor left
    if has_goals:  # rclpy sends their results by further tasks of the executor
        end = time.monotonic() + _LAST_RESULTS
        spin_while(lambda: time.monotonic() < end)
    executor.shutdown(timeout_sec=_PATIENCE)
    node.destroy_node()
    rclpy.shutdown()
    return status


if __name__ == "__main__":
    sys.exit(main())
