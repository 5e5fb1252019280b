// Passkeys and security keys. A form with data-passkey="create" or "get" asks the browser for the credential when it is
// sent, puts it into its hidden field and goes on. Options lie in data-options, or are fetched from data-options-from.

const fromText = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const listed = (keys) => (keys ?? []).map((key) => ({ ...key, id: fromText(key.id) }));

async function create(options, passwordless) {
  const { publicKey } = options;
  publicKey.challenge = fromText(publicKey.challenge);
  publicKey.user.id = fromText(publicKey.user.id);
  publicKey.excludeCredentials = listed(publicKey.excludeCredentials);
  publicKey.authenticatorSelection = {
    ...publicKey.authenticatorSelection,
    residentKey: passwordless ? "required" : "discouraged",
    requireResidentKey: passwordless,
    ...(passwordless ? { userVerification: "required" } : {}),
  };
  const made = await navigator.credentials.create({ publicKey });
  return asJson(made, {
    clientDataJSON: toText(made.response.clientDataJSON),
    attestationObject: toText(made.response.attestationObject),
    transports: made.response.getTransports?.() ?? [],
  });
}

async function get(options) {
  const { publicKey } = options;
  publicKey.challenge = fromText(publicKey.challenge);
  publicKey.allowCredentials = listed(publicKey.allowCredentials);
  const found = await navigator.credentials.get({ publicKey });
  return asJson(found, {
    clientDataJSON: toText(found.response.clientDataJSON),
    authenticatorData: toText(found.response.authenticatorData),
    signature: toText(found.response.signature),
    userHandle: found.response.userHandle ? toText(found.response.userHandle) : null,
  });
}

const asJson = (credential, response) => ({
  type: credential.type,
  id: credential.id,
  rawId: toText(credential.rawId),
  authenticatorAttachment: credential.authenticatorAttachment,
  clientExtensionResults: credential.getClientExtensionResults(),
  response,
});

async function optionsOf(form) {
  if (!form.dataset.optionsFrom) return JSON.parse(form.dataset.options);
  const answer = await fetch(form.dataset.optionsFrom, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error("The hub did not answer. Try again.");
  return (await answer.json()).request_options;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  for (const button of form.elements) button.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector("[data-passkey-said]");
    try {
      const passwordless = form.elements.passwordless?.checked ?? false;
      const options = await optionsOf(form);
      const credential = form.dataset.passkey === "create" ? await create(options, passwordless) : await get(options);
      form.elements.credential.value = JSON.stringify(credential);
      form.submit();
    } catch (error) {
      said.textContent = error.name === "NotAllowedError" ? "No key was used. Try again." : error.message;
      said.hidden = false;
    }
  });
}
