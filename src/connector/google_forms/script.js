/*
 * Puts submissions from WhatsApp into a Google form as responses of the form. Made by Formgate for: {{title}}
 *
 * 1. {{place}}
 * 2. Replace everything there by this text, and save.
 * 3. Deploy > New deployment > Web app. Execute as: Me. Who has access: Anyone. Grant what Google asks for.
 * 4. Copy the web app's address, which ends in /exec, into the destination's "url".
 *
 * It takes a response only with the secret of that destination, of which it knows a hash, and only once.
 */
var FORM_ID = {{form_id}};
var SECRET_SHA256 = "{{secret_sha256}}";
/* Ids of submissions that are remembered; Google keeps 500 kB of properties for a script. */
var REMEMBERED = 3000;

function doGet() {
  return answer_({ formgate: 1 });
}

function doPost(event) {
  var message;
  try {
    message = JSON.parse(event.postData.contents);
  } catch (error) {
    return answer_({ ok: false, error: "message" });
  }
  if (!message || !isOurs_(message.secret)) return answer_({ ok: false, error: "secret" });
  if (!/^[0-9a-f-]{36}$/.test(String(message.submission))) return answer_({ ok: false, error: "message" });
  var lock = LockService.getScriptLock();
  if (!lock.tryLock(20000)) return answer_({ ok: false, error: "busy" });
  try {
    return answer_(take_(message));
  } catch (error) {
    return answer_({ ok: false, error: "script" });
  } finally {
    lock.releaseLock();
  }
}

function take_(message) {
  var store = PropertiesService.getScriptProperties();
  var key = "s:" + message.submission;
  var known = store.getProperty(key);
  if (known && known.indexOf("done:") === 0) return { ok: true, submission: message.submission, repeated: true };
  var form = FORM_ID === null ? FormApp.getActiveForm() : FormApp.openById(FORM_ID);
  if (!form) return { ok: false, error: "form" };
  if (!form.isAcceptingResponses()) return { ok: false, error: "closed" };
  var parts = [];
  for (var i = 0; i < message.items.length; i++) {
    var item = form.getItemById(message.items[i].id);
    if (!item) return { ok: false, error: "gone", item: message.items[i].id };
    try {
      parts.push(respond_(item, message.items[i].value));
    } catch (error) {
      return { ok: false, error: "item", item: message.items[i].id };
    }
  }
  if (known) {
    /* An earlier run may have ended between submitting and remembering it. */
    var since = new Date(Number(known.split(":")[1]) - 60000);
    if (isThere_(form, since, parts)) {
      store.setProperty(key, "done:" + Date.now());
      return { ok: true, submission: message.submission, repeated: true };
    }
  } else {
    store.setProperty(key, "begun:" + Date.now());
  }
  var response = form.createResponse();
  for (var j = 0; j < parts.length; j++) response.withItemResponse(parts[j]);
  response.submit();
  store.setProperty(key, "done:" + Date.now());
  forget_(store);
  return { ok: true, submission: message.submission, repeated: false };
}

function respond_(item, value) {
  switch (item.getType()) {
    case FormApp.ItemType.TEXT:
      return item.asTextItem().createResponse(value);
    case FormApp.ItemType.PARAGRAPH_TEXT:
      return item.asParagraphTextItem().createResponse(value);
    case FormApp.ItemType.MULTIPLE_CHOICE:
      return item.asMultipleChoiceItem().createResponse(value);
    case FormApp.ItemType.LIST:
      return item.asListItem().createResponse(value);
    case FormApp.ItemType.CHECKBOX:
      return item.asCheckboxItem().createResponse(value);
    case FormApp.ItemType.SCALE:
      return item.asScaleItem().createResponse(value);
    case FormApp.ItemType.RATING:
      return item.asRatingItem().createResponse(value);
    case FormApp.ItemType.DATE:
      return item.asDateItem().createResponse(new Date(value[0], value[1] - 1, value[2]));
    case FormApp.ItemType.DATETIME:
      return item.asDateTimeItem().createResponse(new Date(value[0], value[1] - 1, value[2], value[3], value[4]));
    case FormApp.ItemType.TIME:
      return item.asTimeItem().createResponse(value[0], value[1]);
    case FormApp.ItemType.DURATION:
      return item.asDurationItem().createResponse(value[0], value[1], value[2]);
    case FormApp.ItemType.GRID:
      return item.asGridItem().createResponse(value);
    case FormApp.ItemType.CHECKBOX_GRID:
      return item.asCheckboxGridItem().createResponse(value);
    default:
      throw new Error("no kind of item that can be answered");
  }
}

/* Whether a response since then has the same answers. */
function isThere_(form, since, parts) {
  var wanted = told_(parts);
  return form.getResponses(since).some(function (response) {
    return told_(response.getItemResponses()) === wanted;
  });
}

function told_(parts) {
  return JSON.stringify(
    parts
      .map(function (part) {
        return [part.getItem().getId(), part.getResponse()];
      })
      .sort(function (left, right) {
        return left[0] - right[0];
      })
  );
}

function forget_(store) {
  if (Math.random() > 0.05) return;
  var all = store.getProperties();
  var keys = Object.keys(all).filter(function (key) {
    return key.indexOf("s:") === 0;
  });
  if (keys.length <= REMEMBERED) return;
  var at = function (key) {
    return Number(all[key].split(":")[1]);
  };
  keys.sort(function (left, right) {
    return at(left) - at(right);
  });
  keys.slice(0, keys.length - REMEMBERED).forEach(function (key) {
    store.deleteProperty(key);
  });
}

function isOurs_(secret) {
  if (typeof secret !== "string") return false;
  var digest = Utilities.computeDigest(Utilities.DigestAlgorithm.SHA_256, secret, Utilities.Charset.UTF_8);
  var hex = digest
    .map(function (byte) {
      return ((byte + 256) % 256).toString(16).padStart(2, "0");
    })
    .join("");
  return hex === SECRET_SHA256;
}

function answer_(value) {
  return ContentService.createTextOutput(JSON.stringify(value)).setMimeType(ContentService.MimeType.JSON);
}
