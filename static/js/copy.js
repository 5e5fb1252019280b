// Gives every <figure data-copy> with a <pre> in it a button that copies the text.

for (const block of document.querySelectorAll("[data-copy]")) {
  const text = block.querySelector("pre, .token")?.textContent;
  if (!text || !navigator.clipboard) continue; // without a secure origin there is no clipboard: no dead button
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button button-small copy";
  button.textContent = "Copy";
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text.trim());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  block.append(button);
}
