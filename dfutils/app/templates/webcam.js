async () => {
  // Records for some seconds and puts the recording into the file input, so that the page uploads it like any other file.
  const SECONDS = 4, place = document.querySelector("#df-webcam"), says = place.querySelector("p");
  const say = (text) => { says.textContent = text; };
  if (place.querySelector("video")) return;
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    say("This browser gives the page no access to a webcam; open the page over HTTPS, or upload a file instead.");
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: false });
  } catch (error) {
    say(error.name === "NotFoundError" ? "No webcam was found." : "The browser did not allow access to the webcam.");
    return;
  }
  const preview = Object.assign(document.createElement("video"), { muted: true, playsInline: true, srcObject: stream });
  preview.setAttribute("aria-label", "What the webcam sees");
  place.append(preview);
  try {
    await preview.play();
    const recorder = new MediaRecorder(stream), parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.start();
    for (let left = SECONDS; left > 0; left--) {
      say(`Look into the camera: ${left} s`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    recorder.stop();
    await stopped;
    const suffix = recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    await put(new File(parts, `webcam.${suffix}`, { type: recorder.mimeType.split(";")[0] }));
    say("Filmed. Press “Examine”.");
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    preview.remove();
  }

  async function put(recording) {
    document.querySelector("#df-file button[aria-label=Clear]")?.click();  // an earlier file hides the input
    let input;
    while (!(input = document.querySelector("#df-file input[type=file]"))) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const files = new DataTransfer();
    files.items.add(recording);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }
}
