import RealTimeAPI from './index.js';

export const { EventsManager, ModuleEvents, UserEvents, AdminEvents } = RealTimeAPI;
export { RealTimeAPI };
export default RealTimeAPI;
