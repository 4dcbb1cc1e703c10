// The other side of the exchange on Node's own crypto. Reads one job on standard input, prints its result.
'use strict';
const crypto = require('crypto');

const OAEP = { padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
const b64 = (text) => Buffer.from(text, 'base64');
const inverted = (iv) => Buffer.from(iv.map((byte) => byte ^ 0xff));

function encrypt(key, iv, plaintext) {
  const cipher = crypto.createCipheriv('aes-128-gcm', key, iv);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

function decrypt(key, iv, sealed) {
  const decipher = crypto.createDecipheriv('aes-128-gcm', key, iv);
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]).toString('utf8');
}

const hmac = (secret, message) => crypto.createHmac('sha256', secret).update(message);

const JOBS = {
  request({ publicPem, plaintext, secret }) {
    const [key, iv] = [crypto.randomBytes(16), crypto.randomBytes(16)];
    const body = JSON.stringify({
      encrypted_flow_data: encrypt(key, iv, plaintext),
      encrypted_aes_key: crypto.publicEncrypt({ key: publicPem, ...OAEP }, key).toString('base64'),
      initial_vector: iv.toString('base64'),
    });
    const signature = 'sha256=' + hmac(secret, body).digest('hex');
    return { body, signature, key: key.toString('base64'), iv: iv.toString('base64') };
  },
  openReply({ key, iv, reply }) {
    return decrypt(b64(key), inverted(b64(iv)), b64(reply));
  },
  // As an endpoint: what our key's private half is good for elsewhere.
  answer({ privatePem, body, reply }) {
    const { encrypted_flow_data, encrypted_aes_key, initial_vector } = JSON.parse(body);
    const key = crypto.privateDecrypt({ key: privatePem, ...OAEP }, b64(encrypted_aes_key));
    const iv = b64(initial_vector);
    return { plaintext: decrypt(key, iv, b64(encrypted_flow_data)), reply: encrypt(key, inverted(iv), reply) };
  },
  hubSignature({ secret, body }) {
    return 'sha256=' + hmac(secret, body).digest('hex');
  },
  tokenSignature({ secret, flowToken }) {
    const encode = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
    const signed = encode({ alg: 'HS256', typ: 'JWT' }) + '.' + encode({ flow_token: flowToken });
    return signed + '.' + hmac(secret, signed).digest('base64url');
  },
  webhookSignature({ secret, id, timestamp, body }) {
    const key = b64(secret.replace(/^whsec_/, ''));
    return 'v1,' + hmac(key, id + '.' + timestamp + '.' + body).digest('base64');
  },
  keys({ passphrase }) {
    const { publicKey, privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    const write = (type, cipher) => privateKey.export({ type, format: 'pem', ...(cipher && { cipher, passphrase }) });
    return {
      publicPem: publicKey.export({ type: 'spki', format: 'pem' }),
      privatePems: [
        write('pkcs1'), write('pkcs8'),
        write('pkcs1', 'des-ede3-cbc'), write('pkcs1', 'aes-256-cbc'),
        write('pkcs8', 'des-ede3-cbc'), write('pkcs8', 'aes-128-cbc'), write('pkcs8', 'aes-256-cbc'),
      ],
    };
  },
};

const { job, ...input } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(JOBS[job](input)));
