import './reconnection-manager.js';

export const { ReconnectionManager } = globalThis;
export default ReconnectionManager;
