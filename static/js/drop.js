// Lets a file be dropped anywhere on <label data-drop>, and says which file is chosen.

for (const area of document.querySelectorAll("[data-drop]")) {
  const field = area.querySelector("input[type=file]");
  const said = area.querySelector("[data-chosen]");
  const show = () => {
    const file = field.files[0];
    if (said && file) said.textContent = `${file.name}, ${(file.size / 1e6).toFixed(2)} MB`;
  };
  field.addEventListener("change", show);
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    if (event.dataTransfer.files.length) field.files = event.dataTransfer.files;
    show();
  });
}
