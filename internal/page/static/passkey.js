// Lets a person use passkeys. A form with data-passkey="get" or "create" carries the browser's options as JSON in
// data-options; this script shows it, asks the browser when it is sent, and posts the answer in its "response" field.
// Without this script, or in a browser without passkeys, such a form stays hidden and nothing is missing.
"use strict";

(() => {
  const toBytes = (text) => {
    const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(raw, (c) => c.charCodeAt(0));
  };

  const toText = (buffer) => {
    let raw = "";
    for (const b of new Uint8Array(buffer)) raw += String.fromCharCode(b);
    return btoa(raw).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };

  const withBytes = (list) => (list || []).map((c) => ({ ...c, id: toBytes(c.id) }));

  async function ask(kind, options) {
    const o = { ...options.publicKey, challenge: toBytes(options.publicKey.challenge) };
    if (kind === "create") {
      o.user = { ...o.user, id: toBytes(o.user.id) };
      o.excludeCredentials = withBytes(o.excludeCredentials);
      return navigator.credentials.create({ publicKey: o });
    }
    o.allowCredentials = withBytes(o.allowCredentials);
    return navigator.credentials.get({ publicKey: o });
  }

  // The form in which WebAuthn level 3 writes an answer as JSON.
  function answer(kind, credential) {
    const r = credential.response;
    const response = { clientDataJSON: toText(r.clientDataJSON) };
    if (kind === "create") {
      response.attestationObject = toText(r.attestationObject);
      response.transports = r.getTransports ? r.getTransports() : [];
    } else {
      response.authenticatorData = toText(r.authenticatorData);
      response.signature = toText(r.signature);
      if (r.userHandle) response.userHandle = toText(r.userHandle);
    }
    return JSON.stringify({
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      authenticatorAttachment: credential.authenticatorAttachment || undefined,
      clientExtensionResults: {},
      response,
    });
  }

  function explain(error) {
    if (error.name === "InvalidStateError") return "This device has a passkey for you already.";
    if (error.name === "NotAllowedError") return "No passkey was used. You can try again.";
    return "This browser could not use a passkey here.";
  }

  function prepare(form) {
    const kind = form.dataset.passkey;
    const button = form.querySelector("button[type=submit]");
    const status = form.querySelector("[data-passkey-status]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      status.textContent = "";
      try {
        const credential = await ask(kind, JSON.parse(form.dataset.options));
        form.elements.response.value = answer(kind, credential);
        form.submit();
      } catch (error) {
        status.textContent = explain(error);
        button.disabled = false;
      }
    });
    form.hidden = false;
  }

  if (window.PublicKeyCredential && navigator.credentials) {
    document.querySelectorAll("form[data-passkey]").forEach(prepare);
  }
})();
