"""What the page shows, and what happens on a click."""

import html
import logging
import re
from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import gradio as gr

from colourgan.colorize import QUALITIES
from colourgan.errors import RunError, UsageError
from colourgan.hints import KEEP, MOST_HINTS, Hint, as_hint, parse_hint
from colourgan.images import SUFFIXES
from colourgan.page.coloring import Coloring, Settings, marked
from colourgan.page.examples import FOLDER, Example, examples
from colourgan.page.limits import Limits
from colourgan.page.turns import Turns
from colourgan.runtimes import PACKAGED

OWN = "model's own"
_ABOUT = """# colourgan
Color black-and-white photographs. They stay on the computer that shows this page, and are removed
from it after an hour."""
_CHOSEN = (
    "Twelve photographs that the model in the package was not trained on, good and bad results "
    "alike: left grey, right its colors. Click one to try."
)
_HOW = (
    "Click on the picture where its color should be the chosen one. A hint can be typed, too; × "
    "removes it."
)
_BATCH = (
    "Pictures, or zip files of them, become one zip file with a report. Model, quality, saturation "
    "and temperature are those chosen under One photograph."
)
_TEMPERATURES = [OWN, *(f"{tenths / 10:g}" for tenths in range(1, 11))]
_PICTURES = ["image", *sorted(SUFFIXES)]
_LANE = "color"  # requests in it wait in one queue
_log = logging.getLogger(__name__)

THEME = gr.themes.Default(
    primary_hue="orange",
    neutral_hue="stone",
    # Fonts that are there: others would be fetched.
    font=[gr.themes.Font(name) for name in ("system-ui", "Segoe UI", "Roboto", "sans-serif")],
    font_mono=[gr.themes.Font(name) for name in ("ui-monospace", "Menlo", "monospace")],
)
CSS = """
.gradio-container { width: 100%; max-width: 1280px !important; margin: 0 auto; }
.gradio-container { padding: 12px !important; }
#about h1 { margin: 0; }
#work { display: grid; grid-template: "send result" auto "settings result" 1fr / 300px 1fr; }
#send { grid-area: send; } #settings { grid-area: settings; } #result { grid-area: result; }
#send, #settings, #result { min-width: 0 !important; width: 100%; }
#clickable img { cursor: crosshair; max-height: 640px; width: auto; margin: 0 auto; }
#gallery, #gallery .grid-wrap { min-height: 0; height: auto; }
#gallery .thumbnail-item { aspect-ratio: 4 / 3; }
#gallery .caption-label { font-size: 0.75rem; padding: 1px 6px; }
#state, #most { color: var(--body-text-color-subdued); font-size: 0.9em; overflow-wrap: anywhere; }
/* A message tells of an error; what was there stays to be seen. */
[data-testid="status-tracker"]:has(.error) { display: none !important; }
@media (max-width: 760px) {
  #work { grid-template: "send" auto "result" auto "settings" auto / 100%; }
  #gallery .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }
  .gradio-container { padding: 8px !important; }
}
"""
# A picture that is pasted anywhere takes the place of the one before it.
HEAD = """<script>
document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files, place = document.querySelector("#upload");
  if (!files?.length || !place) return;
  const give = (left) => {
    const input = place.querySelector("input[type=file]");
    if (input) {
      input.files = files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    } else if (left) setTimeout(give, 100, left - 1);
  };
  if (!place.querySelector("input[type=file]")) place.querySelector("[aria-label=Clear]")?.click();
  give(20);
});
</script>"""
_SAVE = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


def layout(coloring: Coloring, turns: Turns, limits: Limits, folder: Path) -> gr.Blocks:
    """The page; folder: where the files it gives out are put, which is Gradio's own."""
    return _Page(coloring, turns, folder).blocks(limits)


def told(error: Exception) -> str:
    """One line for whoever sent a picture."""
    if isinstance(error, RunError | UsageError):
        return str(error)
    _log.debug("a request failed", exc_info=True)
    first = (str(error).splitlines() or [""])[0]
    return f"failed: {type(error).__name__}: {first[:200]}"


def hints_of(listed: Any) -> tuple[Hint, ...]:
    """Hints of the interface's lists [x, y, color], color "#rrggbb" or null to keep what is there.

    Raises UsageError for anything else.
    """
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise UsageError('hints are a list such as [[120, 80, "#c03020"], [40, 60, null]]')
    return tuple(as_hint(each) for each in listed)


def color_of(text: str) -> tuple[int, int, int]:
    """(red, green, blue) of "#rrggbb" or, as browsers give it, "rgba(1.5, 20, 30, 1)".

    Raises UsageError for anything else.
    """
    if found := re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text.strip()):
        return tuple(int(each, 16) for each in found.groups())
    number = r"\s*(\d+(?:\.\d+)?)\s*"
    if found := re.fullmatch(rf"rgba?\({number},{number},{number}(?:,.*)?\)", text.strip()):
        return tuple(min(255, round(float(each))) for each in found.groups())
    raise UsageError(f"'{text[:40]}' is no color: write #rrggbb")


class _Shown(NamedTuple):
    """The parts of the page that a colored picture is shown in."""

    compared: gr.ImageSlider
    clickable: gr.Image
    state: gr.HTML
    save: gr.Button


class _Page:
    """The parts of the page and what they call. A picture is known by its path, which the page
    keeps, so that nothing of a client stays here when it goes away.
    """

    def __init__(self, coloring: Coloring, turns: Turns, folder: Path):
        self.coloring, self.turns, self.folder = coloring, turns, folder

    # What is called

    async def open(self, file: str | None, *controls) -> list:
        """Shows another picture, without the hints of the one before it."""
        return [*await self.show(file, *controls, []), _chips([])]

    async def show(self, file: str | None, *controls) -> list:
        """What goes into the parts of _Shown."""
        if file is None:
            return self.nothing()
        settings = _settings(*controls)
        preview = await self.turns.take(self.coloring.preview, file, settings)
        scale = preview.color.width / preview.width
        notes = "".join(f" · {note}" for note in preview.notes)
        said = f"{Path(file).name} · {preview.width} × {preview.height} pixels{notes}"
        return [
            (preview.grey, preview.color), marked(preview.color, settings.hints, scale),
            html.escape(said), gr.Button(interactive=True),
        ]  # fmt: skip

    def nothing(self) -> list:
        return [None, None, "", gr.Button(interactive=False)]

    async def place(
        self, at: gr.SelectData, file: str | None, hints: list[str], color: str, keep: bool
    ) -> gr.Dropdown:
        """The hints and one more, where the picture was clicked."""
        if file is None or len(hints) == MOST_HINTS:
            return _chips(hints)
        # The browser tells pixels of the preview.
        opened = await self.turns.take(self.coloring.opened, file)
        scale = opened.width / opened.grey.width
        x, y = (max(0, each + 0.5) * scale for each in at.index)
        x, y = min(x, opened.width - 1), min(y, opened.height - 1)
        return _chips([*hints, _text(Hint(x, y, None if keep else color_of(color)))])

    async def save(self, file: str | None, *controls) -> str | None:
        """The colored file at full resolution."""
        if file is None:
            return None
        return await self._written(file, _settings(*controls))

    async def color(
        self, image: str, quality: str, saturation: float, temperature: float | None,
        hints: Any, model: str,
    ) -> str:  # fmt: skip
        """Color a photograph: the file in color, at full resolution, in its own format.

        quality: fast, good or best. saturation: a factor, 1 for the model's. temperature: 0.01 to
        1, 0 for the model's. hints: [[x, y, "#rrggbb"], …] in pixels of the upright picture,
        null instead of a color keeps the predicted one there. model: a name that the page offers.
        """
        if image is None:
            raise UsageError("there is no picture: send one as image")
        if not all(isinstance(each, int | float | None) for each in (saturation, temperature)):
            raise UsageError("saturation and temperature are numbers")
        saturation = 1.0 if saturation is None else saturation
        return await self._written(
            image, Settings(model, quality, saturation, temperature or None, hints_of(hints))
        )

    async def many(self, files: list[str] | None, *controls, progress: gr.Progress) -> tuple:
        """The zip file of many pictures in color, and one line about it."""
        if not files:
            raise UsageError("there is no file yet: drop pictures, or a zip file of them")
        inside = copy_context()  # what progress is told for which request
        out = self.folder / token_hex(16) / "colored.zip"
        out.parent.mkdir()
        said = await self.turns.batch(
            self.coloring.many, files, _settings(*controls, []), out,
            lambda done, total: inside.run(progress, (done, total), unit="pictures"),
        )  # fmt: skip
        return str(out), html.escape(said)

    async def _written(self, file: str, settings: Settings) -> str:
        content, suffix, _ = await self.turns.take(self.coloring.file, file, settings)
        path = self.folder / token_hex(16) / f"{Path(file).stem}-color{suffix}"
        path.parent.mkdir()
        path.write_bytes(content)
        return str(path)

    # What is seen

    def blocks(self, limits: Limits) -> gr.Blocks:
        with gr.Blocks(title="colourgan", analytics_enabled=False) as blocks:
            gr.Markdown(_ABOUT, elem_id="about")
            shown = examples()
            gallery = _gallery(shown) if shown else None
            with gr.Tab("One photograph"):
                controls = self._one(gallery, shown, limits)
            with gr.Tab("Many files"):
                self._many(controls)
            self._api()
        blocks.queue(max_size=limits.queue, default_concurrency_limit=limits.jobs, api_open=False)
        return blocks

    def _one(self, gallery: gr.Gallery | None, shown: list[Example], limits: Limits) -> list:
        """The controls that another tab may use, too."""
        with gr.Row(elem_id="work"):
            with gr.Column(elem_id="send"):
                sent = _sent(
                    label="Photograph: drop, click or paste", file_types=_PICTURES, height=150,
                    elem_id="upload",
                )  # fmt: skip
                most = f"At most {limits.max_mb:g} MB and {limits.max_megapixels:g} megapixels."
                gr.HTML(most, elem_id="most")
            with gr.Column(elem_id="result"):
                with gr.Tab("Compare"):
                    compared = gr.ImageSlider(
                        label="Grey | color", interactive=False, format="jpeg", max_height=640,
                        buttons=["fullscreen"], elem_id="compared",
                    )  # fmt: skip
                with gr.Tab("Hints"):
                    clickable, hints, color, keep, undo, clear = _hint_parts()
                state = gr.HTML(elem_id="state")
                save = gr.Button(
                    "Download at full resolution", variant="primary", interactive=False,
                    elem_id="save",
                )  # fmt: skip
                file = gr.File(visible="hidden", elem_id="file")
            with gr.Column(elem_id="settings"):
                controls = self._controls()
        parts, every = _Shown(compared, clickable, state, save), [sent, *controls, hints]
        how = {"api_visibility": "private", "concurrency_id": _LANE, "show_progress_on": [compared]}
        fresh = {"inputs": [sent, *controls], "outputs": [*parts, hints], **how}
        again = {"inputs": every, "outputs": [*parts], "trigger_mode": "always_last", **how}
        again["show_progress"] = "minimal"  # what is there stays to be seen until it changes
        marks = {"outputs": hints, "api_visibility": "private", "show_progress": "hidden"}
        hidden = {"fn": self.nothing, "outputs": [*parts], "api_visibility": "private"}
        sent.upload(_safely(self.open), **fresh).failure(**hidden)
        sent.clear(_safely(self.open), **fresh)
        quality, saturation, temperature, model = controls
        for change in (quality.input, saturation.release, temperature.input, model.input):
            change(_safely(self.show), **again)
        hints.change(_safely(self.show), **again)
        clickable.select(
            _safely(self.place), [sent, hints, color, keep], concurrency_id=_LANE, **marks
        )
        undo.click(lambda hints: _chips(hints[:-1]), hints, **marks)
        clear.click(lambda: _chips([]), None, **marks)
        save.click(_safely(self.save), every, file, **how | {"show_progress_on": [state]}).success(
            None, file, None, js=_SAVE
        )
        if gallery is not None:

            def chosen(at: gr.SelectData) -> str:
                return str(shown[at.index].file)

            gallery.select(chosen, None, sent, api_visibility="private").success(
                _safely(self.open), **fresh
            )
        return controls

    def _controls(self) -> list:
        """Quality, saturation, temperature and model."""
        names = list(self.coloring.models)
        return [
            gr.Radio(
                list(QUALITIES), value="good", label="Quality",
                info="1, 2 or 6 predictions are averaged",
            ),
            gr.Slider(0, 2, 1, step=0.05, label="Saturation", info="Factor on predicted colors"),
            gr.Dropdown(
                _TEMPERATURES, value=OWN, label="Temperature", info="Low is vivid, high is safe",
                visible=any(self.coloring.has_classes(name) for name in names),
            ),
            gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1),
        ]  # fmt: skip

    def _many(self, controls: list) -> None:
        gr.Markdown(_BATCH)
        sent = _sent(
            label="Photographs or zip files", file_count="multiple",
            file_types=[*_PICTURES, ".zip"], height=200, elem_id="uploads",
        )  # fmt: skip
        start = gr.Button("Color all", variant="primary", elem_id="start")
        said = gr.HTML(elem_id="said")
        out = gr.File(label="In color", interactive=False, elem_id="batch")

        @_safely
        async def many(progress=gr.Progress(), *values):  # noqa: B008
            return await self.many(*values, progress=progress)

        start.click(
            many, [sent, *controls], [out, said], concurrency_id="batch", concurrency_limit=1,
            api_visibility="private", show_progress_on=[out],
        )  # fmt: skip

    def _api(self) -> None:
        """What programs call as /color; the page does not show it."""
        with gr.Row(visible=False):
            inputs = [
                _sent(label="image"),
                gr.Textbox("good", label="quality"),
                gr.Number(1, label="saturation"),
                gr.Number(0, label="temperature"),
                gr.JSON([], label="hints"),
                gr.Textbox(PACKAGED, label="model"),
            ]
            out, call = gr.File(label="the picture in color"), gr.Button()
        call.click(_safely(self.color, str), inputs, out, api_name="color", concurrency_id=_LANE)


def _gallery(shown: list[Example]) -> gr.Gallery:
    gr.set_static_paths([FOLDER])
    gallery = gr.Gallery(
        [(str(each.halves), each.title) for each in shown], columns=6, height="auto",
        allow_preview=False, show_label=False, buttons=[], elem_id="gallery", object_fit="cover",
    )  # fmt: skip
    rows = (f"{each.title}: {each.source}, {each.license}" for each in shown)
    listed = "<br>".join(map(html.escape, rows))
    gr.HTML(f"{_CHOSEN}<details><summary>Sources and licenses</summary>{listed}</details>")
    return gallery


def _hint_parts() -> list:
    """The picture to click on, the hints, the color of the next, and the buttons."""
    with gr.Row():
        color = gr.ColorPicker("#c03020", label="Color of the next hint", min_width=120)
        keep = gr.Checkbox(
            label="Keep the color here", info="Instead of the chosen one", min_width=120
        )
    clickable = gr.Image(
        label="Click where a color is known", interactive=False, format="jpeg", buttons=[],
        elem_id="clickable",
    )  # fmt: skip
    hints = gr.Dropdown(
        [], value=[], multiselect=True, allow_custom_value=True, label="Hints", info=_HOW,
        elem_id="hints",
    )  # fmt: skip
    with gr.Row():
        undo = gr.Button("Undo", size="sm", min_width=80, elem_id="undo")
        clear = gr.Button("Clear", size="sm", min_width=80, elem_id="clear")
    return [clickable, hints, color, keep, undo, clear]


def _sent(**options) -> gr.File:
    """A place for files. What it is given must have been sent: Gradio would fetch an address."""
    place = gr.File(**options)
    moved = place.async_move_resource_to_block_cache

    async def checked(path: str | Path | None) -> str | None:
        if path is not None and not Path(path).is_file():
            raise gr.Error("send the file itself: addresses are not read", print_exception=False)
        return await moved(path)

    place.async_move_resource_to_block_cache = checked
    return place


def _settings(quality, saturation, temperature, model, hints=()) -> Settings:
    """What the controls say."""
    own = temperature in (None, OWN)
    return Settings(
        model, quality, saturation, None if own else float(temperature),
        tuple(parse_hint(each) for each in hints or ()),
    )  # fmt: skip


def _text(hint: Hint) -> str:
    """What `parse_hint` reads again."""
    color = KEEP if hint.color is None else "#{:02x}{:02x}{:02x}".format(*hint.color)
    return f"{hint.x:.0f},{hint.y:.0f},{color}"


def _chips(hints: list[str]) -> gr.Dropdown:
    return gr.Dropdown(choices=hints, value=hints)


def _safely(call: Callable, shown: Callable[[str], str] = html.escape) -> Callable:
    """The same function, whose errors are told in one line: to the page, which takes it for HTML,
    unless `shown` makes something else of it.
    """

    @wraps(call)
    async def safe(*args, **options):
        try:
            return await call(*args, **options)
        except Exception as error:
            raise gr.Error(shown(told(error)), print_exception=False) from None

    return safe
